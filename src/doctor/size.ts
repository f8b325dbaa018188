import { withAdmin } from '../postgres/connect.ts'
import { databaseSize } from '../postgres/inventory.ts'
import type { ServerSnapshot } from './snapshot.ts'

/** What a database takes on disk, as a message tells it. */
export async function sizeOf(server: ServerSnapshot, database: string): Promise<string> {
  const size = await withAdmin(server.address, {}, client => databaseSize(client, database))
  return size === null ? 'of unknown size' : `${(size / 1024 / 1024).toFixed(1)} MB`
}
