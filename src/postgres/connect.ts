import type { Socket } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import type pg from 'pg'
import { throwIfAborted } from '../errors.ts'
import { hostAndPort, type ServerAddress } from './address.ts'
import { GuardedClient, type GuardedConfig } from './guarded-client.ts'
import { query, queryTogether } from './query.ts'
import { knownKey } from './scram.ts'
import { sqlstate, sqlstateOf, toTenancyError } from './sqlstate.ts'
import { tlsOptions } from './tls.ts'

export type Client = pg.Client

export interface ConnectOptions {
  /** Server settings sent in the start-up packet, where they beat those of the database and the role. */
  settings?: Record<string, string | number>
  /** On abort, the running statement is cancelled. */
  signal?: AbortSignal | undefined
  /** What the connection is for, as in "logging in as tenant acme"; opens the message of an error, before the address. */
  doing?: string
}

/**
 * Settings of every admin session: whatever search_path a tenant planted with ALTER DATABASE or ALTER ROLE,
 * only the system's own functions are found. A start-up option beats both. pg reads no other style of times than ISO.
 */
export const adminSettings = { search_path: 'pg_catalog,pg_temp', lock_timeout: '30s', DateStyle: 'ISO' }

/** Opens a connection, hands it to `work`, and closes it whatever happens. */
export async function withClient<T>(
  address: ServerAddress,
  options: ConnectOptions,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  throwIfAborted(options.signal)
  const client = await connect(address, options)
  try {
    return await cancellable(address, client, options.signal, () => work(client))
  } finally {
    await close(client)
  }
}

/**
 * Runs `work`, on abort of which the statement that `client` runs is cancelled. Ends when the cancellation has: the
 * server knows a session by a number, which is another's soon after it has ended.
 */
export async function cancellable<T>(
  address: ServerAddress,
  client: Client,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  throwIfAborted(signal)
  let cancelled: Promise<void> | undefined
  const cancel = () => {
    cancelled = cancelBackend(address, client)
    holdStatements(client, cancelled)
  }
  signal?.addEventListener('abort', cancel, { once: true })
  try {
    return await work()
  } finally {
    signal?.removeEventListener('abort', cancel)
    await cancelled
  }
}

/** An admin's connection: see `adminSettings`. */
export function withAdmin<T>(
  address: ServerAddress,
  options: ConnectOptions,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  return withClient(address, { ...options, settings: { ...adminSettings, ...options.settings } }, work)
}

/** Opens a connection that the caller must close; `withClient` is the usual way. */
export async function connect(address: ServerAddress, options: ConnectOptions = {}): Promise<Client> {
  const doing = `${options.doing ?? `connecting as ${address.user}`} at ${hostAndPort(address)}`
  const { nextPassword, ...current } = address
  if (nextPassword) {
    return connect(current, options).catch(error => {
      if (sqlstateOf(error) !== sqlstate.invalidPassword) throw error
      return connect({ ...current, password: nextPassword }, options)
    })
  }
  try {
    const ssl = hasNoTls(address) ? false : await tlsOptions(address)
    try {
      return await open(address, ssl, options)
    } catch (error) {
      if (ssl === false || address.sslmode !== 'prefer' || !mayGoWithoutTls(error)) throw error
      if (isNoTls(error)) withoutTls.set(hostAndPort(address), Date.now() + believedMs)
      return await open(address, false, options)
    }
  } catch (error) {
    throw toTenancyError(error, doing)
  }
}

/** The address with the one of its two passwords that the server takes. */
export async function withRightPassword(address: ServerAddress): Promise<ServerAddress> {
  const { nextPassword, ...current } = address
  if (!nextPassword) return address
  try {
    await close(await connect(current))
  } catch (error) {
    if (sqlstateOf(error) === sqlstate.invalidPassword) return { ...current, password: nextPassword }
  }
  return current
}

/**
 * A pool, whose connections must not each find out anew whether the server has TLS: with `prefer`, its first one decides
 * for all.
 */
export async function openPool(
  address: ServerAddress,
  make: (ssl: ConnectionOptions | false) => pg.Pool,
): Promise<pg.Pool> {
  const ssl = await tlsOptions(address)
  const pool = make(ssl)
  if (ssl === false || address.sslmode !== 'prefer') return pool
  try {
    const first = await pool.connect()
    first.release()
  } catch (error) {
    // Any other error is the same with TLS and without; the pool will meet it again.
    if (!mayGoWithoutTls(error)) return pool
    await pool.end()
    return make(false)
  }
  return pool
}

/**
 * Servers that said they have no TLS, and until when that is believed: with `prefer`, which goes on without it anyway,
 * a fleet would otherwise open two connections for each tenant.
 */
const withoutTls = new Map<string, number>()
const believedMs = 60_000

function hasNoTls(address: ServerAddress): boolean {
  return address.sslmode === 'prefer' && (withoutTls.get(hostAndPort(address)) ?? 0) > Date.now()
}

function isNoTls(error: unknown): boolean {
  return /does not support SSL/.test((error as Error).message)
}

/** As with libpq: where the server has no TLS, where it fails, and where pg_hba.conf wants none. */
function mayGoWithoutTls(error: unknown): boolean {
  const { code, message } = error as { code?: string; message: string }
  if (isNoTls(error)) return true
  if (code === '28000') return /pg_hba\.conf/.test(message)
  return toTenancyError(error, '').code === 'TLS_FAILED'
}

/** Whether a connection alone keeps the process from ending. */
export function holdProcess(client: Client, hold: boolean): void {
  if (hold) streamOf(client).ref()
  else streamOf(client).unref()
}

/** Without a good-bye, to which somebody who does not answer would not answer either. */
export function destroy(client: Client): void {
  streamOf(client).destroy()
}

/** False once the connection was closed, or is known to be lost. */
export function isConnected(client: Client): boolean {
  return streamOf(client).writable
}

export async function close(client: Client): Promise<void> {
  try {
    await client.end()
  } catch {
    // It is gone already.
  }
}

/** BEGIN and the settings that go with it, work, COMMIT; ROLLBACK when `work` throws. */
export async function withTransaction<T>(
  client: Client,
  work: () => Promise<T>,
  settings: readonly string[] = [],
): Promise<T> {
  await queryTogether(client, 'beginning a transaction', ['BEGIN', ...settings])
  try {
    const result = await work()
    await query(client, 'committing', 'COMMIT')
    return result
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined)
    throw error
  }
}

/**
 * A transaction whose statements are sent together: committed, unless `judge` throws when it sees the rows of the last
 * one.
 */
export async function transact<Row>(
  client: Client,
  doing: string,
  statements: readonly string[],
  judge: (rows: Row[]) => void,
): Promise<void> {
  try {
    judge(await queryTogether<Row>(client, doing, ['BEGIN', ...statements]))
    await query(client, 'committing', 'COMMIT')
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined)
    throw error
  }
}

/** What `pg` takes to log in to an address. */
export function toClientConfig(
  address: ServerAddress,
  ssl: Awaited<ReturnType<typeof tlsOptions>>,
  settings: Record<string, string | number> = {},
): GuardedConfig {
  const options = Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${String(value).replace(/([\\ ])/g, '\\$1')}`)
    .join(' ')
  return {
    host: address.host,
    port: address.port,
    user: address.user,
    database: address.database,
    // A function: pg would otherwise look for a password in the environment and in ~/.pgpass.
    password: () => address.password?.reveal() ?? '',
    scramKey: address.password && knownKey(address.password),
    ssl,
    // Constant, since every login on the server can read it.
    application_name: 'tenantctl',
    connectionTimeoutMillis: address.connectTimeout * 1000,
    // A server that vanished without a word is given up after this time and ten seconds, not after two hours.
    keepAlive: true,
    keepAliveInitialDelayMillis: 30_000,
    ...(options === '' ? {} : { options }),
  }
}

async function open(
  address: ServerAddress,
  ssl: Awaited<ReturnType<typeof tlsOptions>>,
  options: ConnectOptions,
): Promise<Client> {
  const client = new GuardedClient(toClientConfig(address, ssl, options.settings))
  // A connection lost while idle must not end the process; the next statement on it fails.
  client.on('error', () => undefined)
  try {
    await client.connect()
    return client
  } catch (error) {
    await close(client)
    throw error
  }
}

/** Cancels what `client` runs, through a second login: pg's own cancel request knows no TLS. */
async function cancelBackend(address: ServerAddress, client: Client): Promise<void> {
  const { processID } = client as unknown as { processID: number | null }
  if (processID === null) return
  try {
    const canceller = await connect(address)
    await canceller.query('SELECT pg_catalog.pg_cancel_backend($1)', [processID]).finally(() => close(canceller))
  } catch (error) {
    // Nobody answers: what the statement waits for will not come either, and nothing is gained by waiting with it.
    const { code, sqlstate: state } = toTenancyError(error, 'cancelling')
    if (code === 'CONNECTION_FAILED' && state === undefined) destroy(client)
  }
}

/**
 * A cancellation comes over another connection, and meets whatever runs by then: what cleans up after the statement
 * that it was meant for is not sent before the server has dealt with it.
 */
function holdStatements(client: Client, until: Promise<void>): void {
  const held = client as unknown as { query?: (...args: unknown[]) => unknown }
  const { query } = held
  held.query = async (...args) => {
    await until
    return Reflect.apply(query as NonNullable<typeof query>, client, args)
  }
  void until.then(() => {
    // The one of its class shows again.
    delete held.query
  })
}

/** pg keeps it to itself. */
function streamOf(client: Client): Socket {
  return (client as unknown as { connection: { stream: Socket } }).connection.stream
}
