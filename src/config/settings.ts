import type { ValidConfig } from './config.ts'
import { hookNames } from './hooks.ts'
import { maskUrl } from './url.ts'

/** One effective setting and where it came from; secrets are masked. */
export interface Setting {
  /** Its key in the configuration file: `migrations.directory`. `config` is that file itself, null without one. */
  key: string
  /** Durations are in milliseconds. */
  value: unknown
  /** `flag --registry`, `environment DATABASE_URL`, `file tenantctl.config.ts`, `default`, or for `config` `found upwards`. */
  source: string
}

export function listSettings(
  config: ValidConfig,
  written: unknown,
  place: string,
  overridden: ReadonlyMap<string, string>,
): Setting[] {
  return values(config).map(([key, value]) => {
    const source = overridden.get(key) ?? (isWritten(written, key) ? `file ${place}` : 'default')
    return { key, value, source }
  })
}

function values(config: ValidConfig): [key: string, value: unknown][] {
  const { registry, embedded, servers, encryption, migrations, seeds, naming, database, fleet, connections } = config
  const { roles, drop, tools, template, pool } = config
  return [
    ['registry', registry === null ? null : registry.kind === 'embedded' ? 'embedded' : maskUrl(registry.url)],
    ['embedded.directory', embedded.directory],
    ...Object.entries(servers).map(([name, { url }]): [string, unknown] => [`servers.${name}`, maskUrl(url)]),
    ['encryption.keys', encryption.keys.map(String)],
    ['encryption.provider', encryption.provider?.name ?? (encryption.provider ? 'external' : null)],
    ['migrations.directory', migrations.directory],
    ['migrations.lockTimeout', migrations.lockTimeoutMs],
    ['migrations.statementTimeout', migrations.statementTimeoutMs],
    ['seeds.directory', seeds.directory],
    ['roles', roles],
    ['naming.prefix', naming.prefix],
    ['naming.database', naming.database ? 'function' : null],
    ['naming.reserved', naming.reserved],
    ['database.extensions', database.extensions],
    ['database.connectionLimit', database.connectionLimit],
    ['template', template],
    ['pool.size', pool.size],
    ['fleet.concurrency', fleet.concurrency],
    ['fleet.concurrencyPerServer', fleet.concurrencyPerServer],
    ['fleet.fingerprint', fleet.fingerprint],
    ['fleet.maxFailures', fleet.maxFailures],
    ['fleet.verify', fleet.verify ? 'function' : null],
    ...hookNames.map((name): [string, unknown] => [`hooks.${name}`, config.hooks[name] ? 'function' : null]),
    ['connections.max', connections.max],
    ['connections.perTenant', connections.perTenant],
    ['connections.idleTimeout', connections.idleTimeoutMs],
    ['connections.acquireTimeout', connections.acquireTimeoutMs],
    ['connections.registryTtl', connections.registryTtlMs],
    ['connections.via', connections.via],
    ['drop.backup.directory', drop.backupDirectory],
    ['drop.requireBackup', drop.requireBackup],
    ['drop.retain', drop.retainMs],
    ['tools.directory', tools.directory],
  ]
}

function isWritten(written: unknown, path: string): boolean {
  let value = written
  for (const key of path.split('.')) {
    if (typeof value !== 'object' || value === null) return false
    value = (value as Record<string, unknown>)[key]
  }
  return value !== undefined
}
