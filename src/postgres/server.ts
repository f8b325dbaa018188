import type { Client } from './connect.ts'
import { query } from './query.ts'

/** What the admin is and may do on a server. */
export interface AdminFacts {
  /** As in server_version_num: 180004. */
  version: number
  user: string
  superuser: boolean
  createdb: boolean
  createrole: boolean
}

/** So long, what a session was told of its role is taken for true: it is asked for by each of many operations. */
const knownMs = 5_000
const known = new WeakMap<Client, { facts: AdminFacts; until: number }>()

export async function adminFacts(client: Client): Promise<AdminFacts> {
  const before = known.get(client)
  if (before && before.until > Date.now()) return before.facts
  const [facts] = await query<AdminFacts>(
    client,
    'reading the admin role',
    `SELECT pg_catalog.current_setting('server_version_num')::int AS version, r.rolname AS user,
            r.rolsuper AS superuser, r.rolsuper OR r.rolcreatedb AS createdb, r.rolsuper OR r.rolcreaterole AS createrole
       FROM pg_catalog.pg_roles r WHERE r.rolname = current_user`,
  )
  known.set(client, { facts: facts as AdminFacts, until: Date.now() + knownMs })
  return facts as AdminFacts
}

/** Connections that a plain role may still take: without the reserved ones and those in use. */
export const spareConnectionsText = `SELECT pg_catalog.current_setting('max_connections')::int
    - pg_catalog.current_setting('superuser_reserved_connections')::int
    - COALESCE(pg_catalog.current_setting('reserved_connections', true)::int, 0)
    - (SELECT count(*)::int FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend') AS spare`

export async function spareConnections(client: Client): Promise<number> {
  const [row] = await query<{ spare: number }>(client, 'counting connections', spareConnectionsText)
  return row?.spare ?? 0
}
