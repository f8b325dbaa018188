import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { UrlDefaults } from './url.ts'

/** Variables as in `process.env`. */
export type Environment = Record<string, string | undefined>

/** What libpq's variables say of a connection, and its password file (manual, 34.15 and 34.16). */
export function libpqDefaults(env: Environment): UrlDefaults {
  const parameters = Object.entries({
    sslmode: env.PGSSLMODE,
    sslrootcert: env.PGSSLROOTCERT,
    sslcert: env.PGSSLCERT,
    sslkey: env.PGSSLKEY,
  }).filter((entry): entry is [string, string] => Boolean(entry[1]))
  const home = env.HOME ? join(env.HOME, '.postgresql') : undefined
  const file = (name: string) => (home && existsSync(join(home, name)) ? join(home, name) : undefined)
  return {
    host: env.PGHOST,
    port: env.PGPORT,
    user: env.PGUSER || env.USER,
    parameters: Object.fromEntries(parameters),
    files: { sslrootcert: file('root.crt'), sslcert: file('postgresql.crt'), sslkey: file('postgresql.key') },
    password: address => env.PGPASSWORD || passwordFromFile(env, address),
  }
}

/** The variable that says that a server is configured by libpq's variables, if one is. */
export function libpqVariable(env: Environment): string | undefined {
  return ['PGHOST', 'PGPORT', 'PGUSER', 'PGDATABASE'].find(name => env[name])
}

interface Address {
  host: string
  port: string
  database: string
  user: string
}

function passwordFromFile(env: Environment, address: Address): string | undefined {
  const file = passwordFile(env)
  const text = file === undefined ? undefined : readPrivateFile(file)
  if (text === undefined) return undefined
  // The admin logs in to the maintenance database as well, so a line for that one will do.
  return findPassword(text, address) ?? findPassword(text, { ...address, database: 'postgres' })
}

function passwordFile(env: Environment): string | undefined {
  if (env.PGPASSFILE) return env.PGPASSFILE
  if (process.platform === 'win32') return env.APPDATA && join(env.APPDATA, 'postgresql', 'pgpass.conf')
  return env.HOME && join(env.HOME, '.pgpass')
}

/** As libpq does, a file that others may read is passed over, as is one that is not there. */
function readPrivateFile(file: string): string | undefined {
  try {
    const stats = statSync(file)
    if (!stats.isFile() || (process.platform !== 'win32' && (stats.mode & 0o077) !== 0)) return undefined
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

/** The first line `host:port:database:user:password` that fits; `*` fits all, `\` takes `:` and `\` literally. */
export function findPassword(text: string, { host, port, database, user }: Address): string | undefined {
  const wanted = [host.startsWith('/') ? [host, 'localhost'] : [host], [port], [database], [user]]
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('#')) continue
    const fields = (line.match(/(?:^|:)(?:\\.|[^:\\])*/g) ?? []).map((field, index) =>
      (index === 0 ? field : field.slice(1)).replace(/\\(.)/g, '$1'),
    )
    const password = fields[4]
    const fits = wanted.every((values, index) => fields[index] === '*' || values.includes(fields[index] ?? ''))
    if (fits && password) return password
  }
  return undefined
}
