import { TenancyError } from '../errors.ts'
import { type Listener, notify } from '../events.ts'
import type { Client } from '../postgres/connect.ts'
import { findLockHolder, lockKey, withAdvisoryLock } from '../postgres/locks.ts'
import { query } from '../postgres/query.ts'

export interface LockOptions {
  /** Slug, for events and messages. */
  tenant: string
  /** Milliseconds to wait for another run on the same database. */
  waitMs: number
  signal?: AbortSignal | undefined
  onEvent?: Listener | undefined
}

/** Of the lock that whoever changes what is in a database holds, in that database. */
export const databaseLockKey = lockKey('migrate')

/** One run at a time changes a database, by migrations or seeds; the others wait. */
export async function withDatabaseLock<T>(client: Client, options: LockOptions, work: () => Promise<T>): Promise<T> {
  await refusePooler(client)
  const { tenant } = options
  const wait = {
    timeoutMs: options.waitMs,
    signal: options.signal,
    onWait: async () => {
      const reason = `another run is at work in its database${await nameHolder(client)}`
      notify(options.onEvent, { event: 'waiting', tenant, reason })
    },
    onTimeout: async () =>
      new TenancyError('TENANT_LOCKED', `another run is at work in this database${await nameHolder(client)}`, {
        tenant,
        hint: '`tenantctl operations` shows which; wait for it, then run the same command again',
      }),
  }
  return withAdvisoryLock(client, databaseLockKey, wait, work)
}

/** The tenant itself can hold the lock: then no operation is running, but the session can be ended. */
async function nameHolder(client: Client): Promise<string> {
  const holder = await findLockHolder(client, databaseLockKey).catch(() => undefined)
  if (!holder) return ''
  const { pid, role, application, since } = holder
  return `: pid ${pid} (${[role, application].filter(Boolean).join(', ')}) has held its lock, connected since ${since}`
}

/**
 * Session locks do not survive a transaction-mode pooler. One shows by the process id it made up for us; behind one in
 * session mode at least every statement meets the same backend.
 */
async function refusePooler(client: Client): Promise<void> {
  const backend = async () =>
    (await query<{ pid: number }>(client, 'asking for the backend', 'SELECT pg_catalog.pg_backend_pid() AS pid'))[0]
      ?.pid
  const first = await backend()
  if (first === (client as unknown as { processID: number }).processID) return
  for (let attempt = 0; attempt < 5; attempt += 1) {
    if ((await backend()) !== first) {
      throw new TenancyError('POOLER_IN_PATH', 'a transaction-mode pooler stands between tenantctl and PostgreSQL', {
        hint: 'give the address of PostgreSQL itself: migrations need locks that belong to a session',
      })
    }
  }
}
