import { setTimeout as sleep } from 'node:timers/promises'
import { asTenancyError } from '../errors.ts'
import { type Client, withTransaction } from './connect.ts'
import type { Session } from './databases.ts'
import { query } from './query.ts'
import { ensureMembership } from './roles.ts'
import type { AdminFacts } from './server.ts'
import { classOf, sqlstate, sqlstateOf } from './sqlstate.ts'

/** Ending a session takes as long as its running statement needs to notice. */
const patienceMs = 10_000

/**
 * Ends the sessions of a database, and those that its roles have anywhere on the server, until none is left. Returns
 * those that could not be ended, with the reason: of a superuser's session a plain admin may not even ask the end.
 * The caller has shut the door before: whoever was just coming in then is seen the next time round.
 */
export async function endAllSessions(
  client: Client,
  admin: AdminFacts,
  whose: { database: string; roles: readonly string[] },
): Promise<{ sessions: Session[]; reason: string | undefined }> {
  const deadline = Date.now() + patienceMs
  for (let pause = 10; ; pause = Math.min(pause * 2, 250)) {
    const sessions = await sessionsOf(client, whose)
    let reason: string | undefined
    for (const { pid, user } of sessions) {
      const role = whose.roles.find(name => name === user)
      await endSession(client, admin, pid, role).catch(error => {
        reason = asTenancyError(error).message
      })
    }
    if (sessions.length === 0 || Date.now() > deadline) return { sessions, reason }
    await sleep(pause)
  }
}

/**
 * Sessions in a database, and of these roles in any other one, but our own; oldest first. Those of background workers
 * count that act for somebody, as a job's or a subscription's does; autovacuum's do not.
 */
export function sessionsOf(
  client: Client,
  { database, roles = [] }: { database: string; roles?: readonly string[] },
): Promise<Session[]> {
  return query<Session>(
    client,
    `listing the sessions of database "${database}"`,
    `SELECT pid, usename::text AS user, application_name AS application, pg_catalog.host(client_addr) AS client,
            pg_catalog.to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since
       FROM pg_catalog.pg_stat_activity
      WHERE (datname = $1 OR usename = ANY($2::text[])) AND pid <> pg_catalog.pg_backend_pid() AND usename IS NOT NULL
        AND COALESCE(backend_type, 'client backend') <> 'parallel worker'
      ORDER BY backend_start`,
    [database, roles],
  )
}

/** In one transaction, so that the role cannot take the admin its membership away in between. */
export async function endSession(
  client: Client,
  admin: AdminFacts,
  pid: number,
  role: string | undefined,
): Promise<void> {
  await withTransaction(client, async () => {
    if (role !== undefined) await ensureMembership(client, admin, role)
    await query(client, `ending session ${pid}`, 'SELECT pg_catalog.pg_terminate_backend($1)', [pid])
  })
}

/**
 * Runs a statement about roles, or their database, that may resist: in an open transaction, ALTER ROLE on itself locks a
 * role's row for as long as it likes, a GRANT that grants nothing the database's, and one after the other makes every
 * second statement of others fail. Their sessions are ended until the statement has got through.
 */
export async function overrule(
  client: Client,
  admin: AdminFacts,
  roles: readonly string[],
  work: () => Promise<void>,
): Promise<void> {
  const deadline = Date.now() + patienceMs
  const wait = (time: string) =>
    query(client, 'limiting a wait', "SELECT pg_catalog.set_config('lock_timeout', $1, false)", [time])
  const [before] = await query<{ wait: string }>(
    client,
    'reading lock_timeout',
    "SELECT pg_catalog.current_setting('lock_timeout') AS wait",
  )
  await wait('500ms')
  try {
    for (;;) {
      try {
        return await work()
      } catch (error) {
        const resisted = classOf(error) === 'transient' && sqlstateOf(error) !== sqlstate.queryCanceled
        if (!resisted || Date.now() > deadline) throw error
        for (const { pid, user } of await sessionsOf(client, { database: '', roles })) {
          // One that cannot be ended shows when the time is up.
          await endSession(client, admin, pid, user ?? undefined).catch(() => undefined)
        }
      }
    }
  } finally {
    await wait(before?.wait ?? '0').catch(() => undefined)
  }
}
