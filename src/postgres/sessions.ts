import { setTimeout as sleep } from 'node:timers/promises'
import { asTenancyError } from '../errors.ts'
import type { Client } from './connect.ts'
import type { Session } from './databases.ts'
import { query } from './query.ts'

/** Ending a session takes as long as its running statement needs to notice. */
const patienceMs = 10_000

/**
 * Ends the sessions of a database, and those that its roles have anywhere on the server, until none is left. Returns
 * those that could not be ended, with the reason: of a superuser's session a plain admin may not even ask the end.
 * The caller has shut the door before: whoever was just coming in then is seen the next time round.
 */
export async function endAllSessions(
  client: Client,
  whose: { database: string; roles: readonly string[] },
): Promise<{ sessions: Session[]; reason: string | undefined }> {
  const deadline = Date.now() + patienceMs
  for (let pause = 10; ; pause = Math.min(pause * 2, 250)) {
    const sessions = await sessionsOf(client, whose)
    let reason: string | undefined
    for (const { pid } of sessions) {
      await terminate(client, pid).catch(error => {
        reason = asTenancyError(error).message
      })
    }
    if (sessions.length === 0 || Date.now() > deadline) return { sessions, reason }
    await sleep(pause)
  }
}

/** Sessions in a database, and of these roles in any other one, but our own; oldest first. */
export function sessionsOf(
  client: Client,
  { database, roles }: { database: string; roles: readonly string[] },
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

async function terminate(client: Client, pid: number): Promise<void> {
  await query(client, `ending session ${pid}`, 'SELECT pg_catalog.pg_terminate_backend($1)', [pid])
}
