import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { hostname } from 'node:os'
import { resolve } from 'node:path'
import type { Knex } from 'knex'
import {
  createTenancy,
  embeddedServer,
  isTenancyError,
  type Tenancy,
  type TenancyConfig,
  type Tenant,
} from '../index.ts'

/** Where test tenants live and what they are made of; beside these, all that `createTenancy` takes. */
export interface TestTenantsOptions extends Omit<TenancyConfig, 'registry' | 'naming'> {
  /** URL of a server's admin. Default: the embedded server of `directory`, started when it is not running. */
  url?: string | undefined
  /** Folder of the project, to which other paths are relative. Default: the working folder. */
  directory?: string | undefined
  /** Whether new tenants get the seeds. Default: true, when the project has a folder of them. */
  seed?: boolean | undefined
}

/** A tenant that lives as long as a test. */
export interface TestTenant extends Tenant {
  /** Connection URL, with password. */
  url: string
  /** A pooled knex on its database. */
  knex: Knex
}

/** Makes tenants for tests, and removes them again. */
export interface TestTenants {
  /** The tenancy under test: what the application gets in place of its own. */
  readonly tenancy: Tenancy
  /** A fresh tenant. The first one builds a template, further ones are copies of it. */
  create(options?: { name?: string; seed?: boolean }): Promise<TestTenant>
  /** Removes the tenants of this process and ends all connections; call it when the tests of a file are done. */
  close(): Promise<void>
}

/** A registry of its own, so that tests do not meet the tenants of development. */
const registryDatabase = 'tenantctl_test'
const prefix = 'test_'
/** One for all processes that share the registry: whoever may read that may do everything to test tenants anyway. */
const sharedKey = createHash('sha256').update(registryDatabase).digest('base64')
/** A process that says nothing for so long is taken for dead when it ran on another machine. */
const abandonedAfterMs = 24 * 3600 * 1000

/**
 * Tenants for tests, with any test runner. What a process that was killed has left behind is removed by the next one.
 * Throws what `createTenancy` throws.
 */
export async function createTestTenants(options: TestTenantsOptions = {}): Promise<TestTenants> {
  const { url, directory = '.', seed: _, ...config } = options
  const folder = resolve(directory)
  const seeds = config.seeds?.directory ?? 'seeders/tenant'
  // A project may have no seeds at all; a folder that was named has to be there.
  const seed = options.seed ?? (config.seeds?.directory !== undefined || existsSync(resolve(folder, seeds)))
  const registry = new URL(url ?? (await embeddedServer(resolve(folder, '.tenantctl')).start()).url)
  registry.pathname = `/${registryDatabase}`
  const tenancy = createTenancy({
    ...config,
    registry: { url: registry.href },
    encryption: config.encryption ?? { keys: [sharedKey] },
    naming: { prefix },
    migrations: {
      ...config.migrations,
      directory: resolve(folder, config.migrations?.directory ?? 'migrations/tenant'),
    },
    seeds: { ...config.seeds, ...(seed ? { directory: resolve(folder, seeds) } : {}) },
  })
  await removeAbandoned(tenancy)

  const made: string[] = []
  return {
    tenancy,
    async create({ name = 'test', seed: seeded = seed } = {}) {
      const slug = `t-${randomBytes(8).toString('hex')}`
      made.push(slug)
      const tenant = await tenancy.tenants.create({ name, slug, seed: seeded, labels: ownLabels() })
      const [address, knex] = await Promise.all([tenancy.tenants.url(slug), tenancy.connections.get(slug)])
      return { ...tenant, url: address.reveal(), knex }
    },
    async close() {
      await tenancy.tenants.drop({ tenants: made }, { force: true, ifExists: true })
      await tenancy.close()
    },
  }
}

function ownLabels(): Record<string, string> {
  return { testHost: hostname(), testPid: String(process.pid) }
}

async function removeAbandoned(tenancy: Tenancy): Promise<void> {
  const dead = (await tenancy.tenants.list()).filter(({ labels, createdAt }) =>
    labels.testHost === hostname()
      ? !isAlive(Number(labels.testPid))
      : Date.now() - Date.parse(createdAt) > abandonedAfterMs,
  )
  if (dead.length === 0) return
  try {
    await tenancy.tenants.drop({ tenants: dead.map(({ id }) => id) }, { force: true, ifExists: true })
  } catch (error) {
    // Another process may be cleaning up as well.
    if (!isTenancyError(error)) throw error
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
