import { isAbsolute, resolve } from 'node:path'
import type { SslMode } from '../postgres/address.ts'
import { Secret } from '../secrets/secret.ts'

/** What a URL leaves out and the environment may supply, as libpq does (manual, 34.15). */
export interface UrlDefaults {
  host?: string | undefined
  port?: string | undefined
  user?: string | undefined
  parameters?: Record<string, string>
  /** Certificates that lie where libpq looks for them unasked (`~/.postgresql`). */
  files?: Partial<Record<'sslrootcert' | 'sslcert' | 'sslkey', string | undefined>>
  password?: (address: { host: string; port: string; database: string; user: string }) => string | undefined
}

export interface UrlContext {
  /** Where relative certificate paths are meant from. */
  directory: string
  /** When the URL names no database. */
  database: string
  defaults?: UrlDefaults | undefined
}

export const urlExpected = 'a URL such as postgresql://admin:password@host:5432/database'

/** Why a text is not a connection URL; never quotes it. */
export class UrlProblem extends Error {}

export const sslModes: readonly SslMode[] = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full']
const certificates = ['sslrootcert', 'sslcert', 'sslkey']

/** Checks a connection URL and writes it in one spelling with nothing left out. Throws UrlProblem. */
export function completeUrl(text: string, context: UrlContext): Secret {
  const { url, host: writtenHost } = parse(text.trim())
  const { defaults = {} } = context
  const parameters = new Map(url.searchParams)
  const take = (name: string) => {
    const value = parameters.get(name) || undefined
    parameters.delete(name)
    return value
  }
  const host = take('host') ?? (writtenHost || defaults.host || 'localhost')
  const port = checkedPort(take('port') ?? (url.port || defaults.port || '5432'))
  const user = take('user') ?? (decode(url.username) || defaults.user || 'postgres')
  const database = take('dbname') ?? (decode(url.pathname.slice(1)) || context.database)
  if (host.includes(',')) throw new UrlProblem('several hosts; give one')
  if ([host, user, database].some(part => part.includes('\0'))) throw new UrlProblem('a NUL character in it')
  // An unencoded / ? or # in a password ends the host early; what follows must not be taken for a database.
  if (url.hash !== '' || database.includes('@') || [...parameters.keys()].some(key => key.includes('@'))) {
    throw new UrlProblem('a text that breaks off early; special characters of a password must be percent-encoded')
  }
  const writtenPassword = take('password') ?? (decode(url.password) || undefined)
  const password = writtenPassword ?? defaults.password?.({ host, port, database, user })
  const query = tlsParameters(parameters, context)
  const login = encodeURIComponent(user) + (password === undefined ? '' : `:${encodeURIComponent(password)}`)
  const search = query.size > 0 ? `?${new URLSearchParams([...query])}` : ''
  return new Secret(`postgresql://${login}@${encodeHost(host)}:${port}/${encodeURIComponent(database)}${search}`)
}

/** The URL with `***` for its password, for people. */
export function maskUrl(url: Secret): string {
  return url.reveal().replace(/^(postgresql:\/\/[^:@/]*):[^@/]*@/, '$1:***@')
}

function parse(text: string): { url: URL; host: string } {
  if (!/^postgres(ql)?:\/\//i.test(text)) throw new UrlProblem('something that does not start with postgresql://')
  // libpq lets the host be left out, also after a user; a WHATWG URL does not.
  const hostless = /^(\w+:\/\/(?:[^@/?#]*@)?)(?=[:/?#]|$)/
  try {
    const url = new URL(text.replace(hostless, '$1left-out'))
    return { url, host: hostless.test(text) ? '' : decode(url.hostname).replace(/^\[|\]$/g, '') }
  } catch (error) {
    if (error instanceof UrlProblem) throw error
    throw new UrlProblem('no valid URL; special characters of a password must be percent-encoded, one host given')
  }
}

function tlsParameters(written: Map<string, string>, { directory, defaults }: UrlContext): Map<string, string> {
  const parameters = new Map([...Object.entries(defaults?.parameters ?? {}), ...written])
  for (const name of certificates) {
    const path = parameters.get(name)
    if (!path) parameters.delete(name)
    else if (path !== 'system' && !isAbsolute(path)) parameters.set(name, resolve(directory, path))
  }
  const mode = sslMode(parameters, written)
  parameters.delete('ssl')
  if (mode) parameters.set('sslmode', mode)
  else parameters.delete('sslmode')
  takeFiles(parameters, defaults?.files)
  return parameters
}

/** Only where TLS is insisted on: a certificate that happens to lie there is no wish for it. */
function takeFiles(parameters: Map<string, string>, files: UrlDefaults['files'] = {}): void {
  const mode = parameters.get('sslmode')
  if (mode !== 'require' && !mode?.startsWith('verify-')) return
  if (files.sslrootcert && !parameters.has('sslrootcert')) parameters.set('sslrootcert', files.sslrootcert)
  if (!files.sslcert || !files.sslkey || parameters.has('sslcert') || parameters.has('sslkey')) return
  parameters.set('sslcert', files.sslcert).set('sslkey', files.sslkey)
}

function sslMode(parameters: Map<string, string>, written: Map<string, string>): string | undefined {
  // `ssl=true` is JDBC's and libpq's other word for it; `no-verify` is node-postgres's.
  const ssl = { true: 'require', '1': 'require', false: 'disable', '0': 'disable' }[written.get('ssl') ?? '']
  const mode = (written.get('sslmode') ? undefined : ssl) ?? parameters.get('sslmode')
  if (!mode) return undefined
  const known = { allow: 'prefer', 'no-verify': 'require' }[mode] ?? mode
  if (sslModes.some(each => each === known)) return known
  throw new UrlProblem(`sslmode ${JSON.stringify(mode.slice(0, 20))}; it is one of ${sslModes.join(', ')}`)
}

function checkedPort(port: string): string {
  const number = Number(port)
  if (/^\d+$/.test(port) && number >= 1 && number <= 65535) return String(number)
  throw new UrlProblem('a port that is not between 1 and 65535')
}

function encodeHost(host: string): string {
  // A folder with the server's socket, or an IPv6 address.
  if (host.startsWith('/')) return encodeURIComponent(host)
  if (host.includes(':')) return `[${host}]`
  if (!/[\s@/?#%\\]/.test(host)) return host
  throw new UrlProblem('a host with characters that no host has')
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new UrlProblem('a stray %; a percent sign is written %25')
  }
}
