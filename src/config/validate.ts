import { resolve } from 'node:path'
import { isTenancyError, TenancyError } from '../errors.ts'
import { Secret } from '../secrets/secret.ts'
import type { RegistryConfig, TenancyConfig, ValidConfig } from './config.ts'
import { parseDuration, parseRetention } from './duration.ts'
import { parseEncryptionKey } from './keys.ts'
import { checkConfig } from './schema.ts'
import { completeUrl, type UrlContext, UrlProblem, urlExpected } from './url.ts'

/** Names of databases that a URL may leave out. */
export const registryDatabase = 'tenantctl'
const maintenanceDatabase = 'postgres'

interface ConfigBase {
  /** Absolute folder that relative paths are meant from. */
  directory: string
  /** How messages call the configuration: a file's name. */
  place: string
  /** What the environment supplies to URLs that leave it out. */
  urlDefaults?: UrlContext['defaults']
}

/** Checks what somebody wrote and fills in what he left out. Tells all problems in one `CONFIG_INVALID`. */
export function validateConfig(input: unknown, base: ConfigBase): ValidConfig {
  const checked = checkConfig(input)
  if ('problems' in checked) throw configInvalid(checked.problems.map(problem => `${base.place}: ${problem}`))
  const { config } = checked
  const problems: string[] = []

  const url = (key: string, written: string | Secret, database: string): Secret => {
    const context = { directory: base.directory, database, defaults: base.urlDefaults }
    try {
      return completeUrl(reveal(written), context)
    } catch (error) {
      if (!(error instanceof UrlProblem)) throw error
      problems.push(urlProblem(`${base.place}: ${key}`, error))
      return new Secret('')
    }
  }

  const result = fillIn(config, base, url)
  if (result.connections.perTenant > result.connections.max) {
    const { max, perTenant } = result.connections
    problems.push(`${base.place}: connections.perTenant: expected at most connections.max (${max}), found ${perTenant}`)
  }
  if (result.pool.size > 0 && !result.template) {
    problems.push(
      `${base.place}: pool.size: expected 0, since ready tenants are copies of the template, and template is false`,
    )
  }
  if (problems.length > 0) throw configInvalid(problems)
  result.encryption.keys = encryptionKeys(config, base.place)
  return result
}

export function urlProblem(place: string, { message }: UrlProblem): string {
  return `${place}: expected ${urlExpected}, found ${message}`
}

export function configInvalid(problems: string[], facts: { hint?: string; cause?: unknown } = {}): TenancyError {
  const message = problems.length === 1 ? `${problems[0]}` : `${problems.length} problems:\n  ${problems.join('\n  ')}`
  return new TenancyError('CONFIG_INVALID', message, facts)
}

function fillIn(
  written: TenancyConfig,
  { directory }: ConfigBase,
  url: (key: string, written: string | Secret, database: string) => Secret,
): ValidConfig {
  const { migrations = {}, seeds = {}, database = {}, fleet = {}, connections = {}, drop = {}, tools = {} } = written
  const embedded = { directory: resolve(directory, written.embedded?.directory ?? '.tenantctl') }
  const max = connections.max ?? 20
  return {
    registry: registry(written, embedded.directory, url),
    embedded,
    servers: Object.fromEntries(
      Object.entries(written.servers ?? {}).map(([name, server]) => [
        name,
        {
          url: url(`servers.${name}.url`, server.url, maintenanceDatabase),
          ...(server.via ? { via: server.via } : {}),
        },
      ]),
    ),
    encryption: {
      keys: [],
      keyFile: null,
      ...(written.encryption?.provider ? { provider: written.encryption.provider } : {}),
    },
    migrations: {
      directory: resolve(directory, migrations.directory ?? 'migrations/tenant'),
      explicit: migrations.directory !== undefined,
      lockTimeoutMs: milliseconds(migrations.lockTimeout, 5_000),
      statementTimeoutMs: milliseconds(migrations.statementTimeout, 0),
    },
    seeds: {
      directory: resolve(directory, seeds.directory ?? 'seeders/tenant'),
      explicit: seeds.directory !== undefined,
    },
    roles: written.roles ?? 'single',
    naming: names(written.naming),
    database: { extensions: database.extensions ?? [], connectionLimit: database.connectionLimit ?? -1 },
    template: written.template ?? true,
    pool: { size: written.pool?.size ?? 0 },
    fleet: {
      concurrency: fleet.concurrency ?? null,
      concurrencyPerServer: fleet.concurrencyPerServer ?? null,
      fingerprint: fleet.fingerprint ?? false,
      maxFailures: fleet.maxFailures ?? null,
      ...(fleet.verify ? { verify: fleet.verify } : {}),
    },
    connections: {
      max,
      perTenant: connections.perTenant ?? Math.min(5, max),
      idleTimeoutMs: milliseconds(connections.idleTimeout, 30_000),
      acquireTimeoutMs: milliseconds(connections.acquireTimeout, 10_000),
      registryTtlMs: milliseconds(connections.registryTtl, 5_000),
      via: connections.via ?? null,
    },
    drop: {
      backupDirectory: drop.backup ? resolve(directory, drop.backup.directory) : null,
      requireBackup: drop.requireBackup ?? false,
      retainMs: drop.retain === undefined ? null : parseRetention(drop.retain),
    },
    tools: { directory: tools.directory === undefined ? null : resolve(directory, tools.directory), path: [] },
    hooks: written.hooks ?? {},
    ...(written.onEvent ? { onEvent: written.onEvent } : {}),
  }
}

/** An opaque name keeps 122 random bits of the id, and gives nobody away. */
function names(naming: TenancyConfig['naming'] = {}): ValidConfig['naming'] {
  if (naming === 'opaque') {
    return { prefix: 't_', database: ({ id }) => `t_${id.replaceAll('-', '')}`, reserved: [] }
  }
  const { prefix = 'tenant_', database, reserved = [] } = naming
  return { prefix, ...(database ? { database } : {}), reserved }
}

function registry(
  { registry }: TenancyConfig,
  embeddedDirectory: string,
  url: (key: string, written: string | Secret, database: string) => Secret,
): RegistryConfig | null {
  if (registry === undefined) return null
  if (registry === 'embedded') return { kind: 'embedded', directory: embeddedDirectory }
  return { kind: 'url', url: url('registry.url', registry.url, registryDatabase) }
}

function encryptionKeys({ encryption }: TenancyConfig, place: string): Secret[] {
  const problems: TenancyError[] = []
  const keys = (encryption?.keys ?? []).flatMap((key, index) => {
    try {
      return [parseEncryptionKey(reveal(key), `${place}: encryption.keys[${index}]`)]
    } catch (error) {
      if (!isTenancyError(error)) throw error
      problems.push(error)
      return []
    }
  })
  const [first] = problems
  if (first === undefined) return keys
  const message = problems.map(problem => problem.message).join('\n')
  throw new TenancyError(first.code, message, { hint: first.hint })
}

function milliseconds(written: string | number | undefined, byDefault: number): number {
  return written === undefined ? byDefault : (parseDuration(written) ?? byDefault)
}

function reveal(value: string | Secret): string {
  return typeof value === 'string' ? value : value.reveal()
}
