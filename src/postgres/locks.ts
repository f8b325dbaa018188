import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { throwIfAborted } from '../errors.ts'
import { type Client, close } from './connect.ts'
import { query } from './query.ts'
import { adminFacts } from './server.ts'
import { endSession } from './sessions.ts'

interface LockWait {
  /** Milliseconds to wait for another holder; 0: try once. */
  timeoutMs: number
  signal?: AbortSignal | undefined
  /**
   * Whoever may connect to the database may take any lock in it, and can work out the keys. Sessions of roles whose
   * comment begins so have no business with this one: they are ended. Default: nobody's are.
   */
  evict?: string | undefined
  /** Called once when the lock is held by somebody else. */
  onWait?: (() => void | Promise<void>) | undefined
  /** Makes the error for when the time is up. */
  onTimeout: () => Promise<Error> | Error
}

/** Also who does not wait for a living run takes this time to get past squatters. */
const evictionMs = 2_000

/** A 64-bit advisory lock key (manual, 13.3.5), as text. */
export function lockKey(...parts: string[]): string {
  return createHash('sha256')
    .update(['tenantctl', ...parts].join('\0'))
    .digest()
    .readBigInt64BE()
    .toString()
}

/**
 * Runs `work` under a session advisory lock, which dies with the session. Polls from outside a transaction: a
 * session blocked in pg_advisory_lock() holds a snapshot, and CREATE INDEX CONCURRENTLY waits for snapshots.
 */
export async function withAdvisoryLock<T>(
  client: Client,
  key: string,
  wait: LockWait,
  work: () => Promise<T>,
): Promise<T> {
  await acquire(client, key, wait)
  try {
    return await work()
  } finally {
    await advisoryUnlock(client, key)
  }
}

/** Where this fails the session is closed, and the lock goes with it. */
export async function advisoryUnlock(client: Client, key: string): Promise<void> {
  await client.query('SELECT pg_catalog.pg_advisory_unlock($1::bigint)', [key]).catch(() => close(client))
}

async function acquire(client: Client, key: string, wait: LockWait): Promise<void> {
  const deadline = Date.now() + wait.timeoutMs
  const evictUntil = Math.max(deadline, Date.now() + evictionMs)
  for (let pause = 20, told = false; ; pause = Math.min(pause * 1.5, 500)) {
    throwIfAborted(wait.signal)
    if (await tryAdvisoryLock(client, key)) return
    if (wait.evict !== undefined && Date.now() < evictUntil && (await evict(client, key, wait.evict))) {
      await sleep(5)
      continue
    }
    if (Date.now() >= deadline) throw await wait.onTimeout()
    if (!told) await wait.onWait?.()
    told = true
    await sleep(pause * (0.75 + Math.random() / 2))
  }
}

/** Also those that are waiting for it, who would have it next. Returns whether there was anybody to end. */
async function evict(client: Client, key: string, comment: string): Promise<boolean> {
  const squatters = await query<{ pid: number; role: string }>(
    client,
    'looking for squatters of a lock',
    `SELECT l.pid, a.usename::text AS role FROM ${locksOf('$1')} JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
      WHERE ${hasComment('$2')}`,
    [key, comment],
  )
  if (squatters.length === 0) return false
  const admin = await adminFacts(client)
  let ended = false
  for (const { pid, role } of squatters) {
    await endSession(client, admin, pid, role).then(
      () => {
        ended = true
      },
      // Another registry's, perhaps; the wait goes on.
      () => undefined,
    )
  }
  return ended
}

/** Rows of pg_locks that are about one key of the current database: it is shown in halves, with objsubid 1 (manual, 52.12). */
function locksOf(key: string): string {
  return `(SELECT * FROM pg_catalog.pg_locks
      WHERE locktype = 'advisory' AND objsubid = 1 AND ((classid::int8 << 32) | objid::int8) = ${key}::int8
        AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())) l`
}

/** Of the role of a row `a` of pg_stat_activity. */
function hasComment(beginning: string): string {
  return `pg_catalog.starts_with(COALESCE(pg_catalog.shobj_description(a.usesysid, 'pg_authid'), ''), ${beginning})`
}

async function tryAdvisoryLock(client: Client, key: string): Promise<boolean> {
  const [row] = await query<{ locked: boolean }>(
    client,
    'taking an advisory lock',
    'SELECT pg_catalog.pg_try_advisory_lock($1::bigint) AS locked',
    [key],
  )
  return row?.locked === true
}

/** An advisory lock as it shows to the whole server: keys are local to a database. */
export function lockId(database: string, key: string): string {
  return `${database}\0${key}`
}

/**
 * Every 64-bit advisory lock that a session holds, in whichever database, as `lockId` writes it; in the database that
 * `client` is in without those of roles whose comment begins with `squatter`.
 */
export async function heldAdvisoryLocks(client: Client, squatter: string): Promise<Set<string>> {
  const rows = await query<{ database: string; key: string }>(
    client,
    'listing advisory locks',
    `SELECT d.datname::text AS database, ((l.classid::int8 << 32) | l.objid::int8)::text AS key
       FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database
       LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
      WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
        AND NOT (d.datname = pg_catalog.current_database() AND ${hasComment('$1')})`,
    [squatter],
  )
  return new Set(rows.map(row => lockId(row.database, row.key)))
}

/** A session that holds an advisory lock of the database that `client` is in. */
export interface LockHolder {
  pid: number
  role: string | null
  application: string
  since: string
}

/** Who holds a lock: keys can be worked out, and whoever may connect to a database may take any lock in it. */
export async function findLockHolder(client: Client, key: string): Promise<LockHolder | undefined> {
  const [holder] = await query<LockHolder>(
    client,
    'looking for the holder of a lock',
    `SELECT l.pid, a.usename::text AS role, COALESCE(a.application_name, '') AS application,
            pg_catalog.to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since
       FROM ${locksOf('$1')} LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
      WHERE l.granted`,
    [key],
  )
  return holder
}
