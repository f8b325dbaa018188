import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { canDump, startDumpServer, toolsDirectory } from '../support/dump-server.ts'
import { useNamespace } from '../support/namespace.ts'
import type { TestServer } from '../support/servers.ts'
import { commandsOf, expectUsable, writeFolders } from './commands.ts'
import { deaths, type Fault, live, losses } from './life.ts'
import { liveInProcess } from './process-life.ts'
import { announce, everything, factor, sample } from './sampling.ts'
import { type Command, expectClean, sweep } from './sweep.ts'

/* What has no single tenant, or needs more than PostgreSQL: the first use of a registry, its keys, dumps. */

const timeout = everything ? 3_600_000 : 120_000 * factor

function faultsUpTo(count: number, usual: number, name: string): Fault[] {
  const all = Array.from({ length: count }, (_, index) => index + 1).flatMap(at =>
    [...deaths, ...losses].map(moment => ({ at, moment })),
  )
  return sample(all, usual, name)
}

describe('the first use of a registry, stopped at any statement', () => {
  const namespace = useNamespace({ allowSessions: true })

  test('is finished by the next command', { timeout }, async () => {
    announce('others')
    writeFolders(namespace)
    const install = async (fault?: Fault) => {
      const own = createTenancy(namespace.config())
      const ending = await live(fault, () => own.registry.install())
      if (ending.kind !== 'died') await own.close()
      return ending
    }
    const { sent } = await install()
    for (const fault of faultsUpTo(sent, 8, 'install')) {
      await namespace.superSql(`DROP DATABASE IF EXISTS ${namespace.prefix}_registry WITH (FORCE)`)
      const ending = await install(fault)
      const tenancy = createTenancy(namespace.config())
      try {
        await tenancy.repair()
        await expectClean(namespace, tenancy, await problemsOfServer(tenancy))
      } catch (error) {
        throw new Error(`at ${fault.at}, ${fault.moment}: ${ending.statement}`, { cause: error })
      } finally {
        await tenancy.close()
      }
    }
  })
})

describe('a change of keys, stopped at any statement', () => {
  const namespace = useNamespace({ allowSessions: true })

  test('leaves every password readable, and is finished by the next', { timeout }, async () => {
    writeFolders(namespace)
    const slugs = ['anna', 'bert', 'carla']
    let keys = [namespace.encryptionKey]
    const open = () => createTenancy(namespace.config({ encryption: { keys } }))
    let tenancy = open()
    for (const slug of slugs) await tenancy.tenants.create({ name: slug })
    await tenancy.close()
    const rotate = async (fault?: Fault) => {
      keys = [randomBytes(32).toString('base64'), ...keys.slice(0, 1)]
      const own = open()
      const ending = await live(fault, () => own.keys.rotate())
      if (ending.kind !== 'died') await own.close()
      return ending
    }
    const { sent } = await rotate()
    for (const fault of faultsUpTo(sent, 8, 'keys')) {
      await rotate(fault)
      tenancy = open()
      for (const slug of slugs) await expectUsable(tenancy, slug)
      await tenancy.keys.rotate()
      await tenancy.close()
      keys = keys.slice(0, 1)
      tenancy = open()
      for (const slug of slugs) await expectUsable(tenancy, slug)
      await tenancy.close()
    }
  })
})

describe.skipIf(!canDump)('a dump, killed at any statement', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startDumpServer()
  })
  afterAll(async () => await server?.remove())
  const namespace = useNamespace({ server: () => server, allowSessions: true })
  let folder: string
  let dump: string

  beforeAll(async () => {
    writeFolders(namespace)
    folder = join(namespace.directory, 'dumps')
    mkdirSync(folder)
    const tenancy = createTenancy(namespace.config({ tools }))
    await tenancy.tenants.create({ name: 'source' })
    const { tenants } = await tenancy.tenants.drop({ tenants: ['source'] }, { backup: folder })
    dump = tenants[0]?.backup ?? ''
    await tenancy.close()
  })
  const tools = { directory: toolsDirectory }

  test('in a restore: finished by repair', { timeout }, async () => {
    const { ready, verify } = commandsOf(namespace).create
    const restore: Command = {
      ...{ name: 'restore', config: { tools }, ready, verify },
      run: (tenancy, slug) => tenancy.tenants.restore({ dump, slug }),
      args: slug => ['restore', dump, '--as', slug],
    }
    console.info(await sweep(namespace, restore, 'process', 3))
  })

  test('in a drop that writes one: finished by repair, or let in again', { timeout }, async () => {
    const backup: Command = {
      ...commandsOf(namespace).drop,
      name: 'backup',
      config: { tools },
      args: slug => ['drop', slug, '--yes', '--force', '--backup', folder],
    }
    delete backup.again
    console.info(await sweep(namespace, backup, 'process', 3))
  })

  test('when the backup is written and the drop has just begun: repair finishes the drop', { timeout }, async () => {
    const config = namespace.writeConfig({ tools })
    const tenancy = namespace.track(createTenancy(namespace.config({ tools })))
    await tenancy.tenants.create({ name: 'late' })
    const args = ['drop', 'late', '--yes', '--backup', folder]
    const begun = "former_status = CASE status WHEN 'dropping'"
    expect(await liveInProcess(namespace, config, args, { at: begun, moment: 'after' })).toMatchObject({ kind: 'died' })
    expect(await tenancy.tenants.get('late')).toMatchObject({ status: 'dropping' })
    expect(await tenancy.repair()).toMatchObject({ succeeded: 1, failed: 0 })
    expect((await tenancy.tenants.list()).map(({ slug }) => slug)).not.toContain('late')
  })
})

async function problemsOfServer(tenancy: Tenancy): Promise<string[]> {
  const { checks } = await tenancy.doctor()
  return checks
    .filter(({ status, tenant, check }) => status === 'problem' && tenant === undefined && check !== 'orphan')
    .map(({ check, message }) => `${check}: ${message}`)
}
