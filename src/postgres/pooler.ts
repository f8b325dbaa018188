import { type Client, close } from './connect.ts'
import { query } from './query.ts'

/** What stands between us and the server: a lock that belongs to a session does not survive `transaction`. */
export type PoolerMode = 'none' | 'session' | 'transaction'

/**
 * A pooler gives its clients process ids of its own making. One in transaction mode shows when a second client begins a
 * transaction: it gets the server's session that the first one had, or drives the first one to another.
 */
export async function poolerMode(client: Client, openAnother: () => Promise<Client>): Promise<PoolerMode> {
  const first = await backend(client)
  if (first === (client as unknown as { processID: number | null }).processID) return 'none'
  const other = await openAnother()
  try {
    await other.query('BEGIN')
    const taken = await backend(other)
    return taken === first || (await backend(client)) !== first ? 'transaction' : 'session'
  } finally {
    await close(other)
  }
}

async function backend(client: Client): Promise<number | undefined> {
  const [row] = await query<{ pid: number }>(
    client,
    'asking for the backend',
    'SELECT pg_catalog.pg_backend_pid() AS pid',
  )
  return row?.pid
}
