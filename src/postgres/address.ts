import { TenancyError } from '../errors.ts'
import { Secret } from '../secrets/secret.ts'

export const sslModes = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'] as const
export type SslMode = (typeof sslModes)[number]

/** Where and as whom to log in; what a connection URL says, parsed once. */
export interface ServerAddress {
  host: string
  port: number
  user: string
  password: Secret | undefined
  /** Tried when the server refuses `password`: while it is being changed, one of the two is right. */
  nextPassword?: Secret | undefined
  database: string
  sslmode: SslMode
  /** Paths of PEM files, as libpq's parameters of the same names. */
  sslrootcert: string | undefined
  sslcert: string | undefined
  sslkey: string | undefined
  /** Seconds, libpq's connect_timeout. */
  connectTimeout: number
}

/** Reads a `postgresql://` URL as libpq would (manual, 34.1.1.2); throws `CONFIG_INVALID`, never quoting the URL. */
export function parseAddress(url: Secret, defaultDatabase = 'tenantctl'): ServerAddress {
  const { parsed, host } = parseUrl(url.reveal())
  // A plus sign is a plus sign to libpq, not a space.
  const parameters = new URLSearchParams(parsed.search.replaceAll('+', '%2B'))
  const parameter = (name: string) => parameters.get(name) || undefined
  const weakest = parameter('sslrootcert') === 'system' ? 'verify-full' : 'prefer'
  const sslmode = parameter('sslmode') ?? (parameter('ssl') === 'true' ? 'require' : weakest)
  if (!sslModes.includes(sslmode as SslMode)) {
    throw invalid(`sslmode is ${JSON.stringify(sslmode)}; expected one of ${sslModes.join(', ')}`)
  }
  const port = Number(parsed.port || parameter('port') || 5432)
  if (!Number.isInteger(port) || port < 1 || port > 65535) throw invalid(`port ${port} is not between 1 and 65535`)
  const password = decode(parsed.password) || parameter('password')
  return {
    host: parameter('host') ?? (host || 'localhost'),
    port,
    user: decode(parsed.username) || parameter('user') || 'postgres',
    password: password === undefined ? undefined : new Secret(password),
    database: decode(parsed.pathname.slice(1)) || parameter('dbname') || defaultDatabase,
    sslmode: sslmode as SslMode,
    sslrootcert: parameter('sslrootcert'),
    sslcert: parameter('sslcert'),
    sslkey: parameter('sslkey'),
    connectTimeout: Number(parameter('connect_timeout') ?? 10) || 10,
  }
}

/** The URL of an address, password and TLS parameters included. */
export function toUrl(address: ServerAddress): Secret {
  const encode = encodeURIComponent
  const socket = address.host.startsWith('/')
  const host = socket ? '' : address.host.includes(':') ? `[${address.host}]` : address.host
  const login = encode(address.user) + (address.password ? `:${encode(address.password.reveal())}` : '')
  const parameters = new URLSearchParams()
  if (socket) parameters.set('host', address.host)
  if (address.sslmode !== 'prefer') parameters.set('sslmode', address.sslmode)
  // Where TLS is only preferred, other clients would take a certificate for the wish to insist on it.
  const insists = address.sslmode !== 'prefer' && address.sslmode !== 'disable'
  for (const key of insists ? (['sslrootcert', 'sslcert', 'sslkey'] as const) : []) {
    const value = address[key]
    if (value) parameters.set(key, value)
  }
  const query = parameters.size > 0 ? `?${parameters}`.replaceAll('+', '%20') : ''
  return new Secret(`postgresql://${login}@${host}:${address.port}/${encode(address.database)}${query}`)
}

/** `host:port`, for people. */
export function hostAndPort(address: Pick<ServerAddress, 'host' | 'port'>): string {
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`
}

function parseUrl(text: string): { parsed: URL; host: string } {
  // A socket URL has no host (`postgresql://user@/db?host=/run`), which WHATWG URLs do not allow.
  const hostless = /^(postgres(?:ql)?:\/\/(?:[^@/?]*@)?)(?=[:/?]|$)/i
  const placeholder = 'no-host'
  const missing = hostless.test(text)
  try {
    const parsed = new URL(missing ? text.replace(hostless, `$1${placeholder}`) : text)
    if (!/^postgres(ql)?:$/.test(parsed.protocol)) throw invalid('it does not start with postgresql://')
    return { parsed, host: missing ? '' : decode(parsed.hostname).replace(/^\[|\]$/g, '') }
  } catch (error) {
    if (error instanceof TenancyError) throw error
    throw invalid('it is not a URL; a password with special characters must be percent-encoded')
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw invalid('it has a stray %; write a percent sign as %25')
  }
}

function invalid(why: string): TenancyError {
  return new TenancyError('CONFIG_INVALID', `the connection URL cannot be used: ${why}`, {
    hint: 'expected postgresql://user:password@host:5432/database',
  })
}
