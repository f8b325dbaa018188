/** A server that this machine's pg_dump can read: tests of backups need one. */
import { installedTools } from '../../src/dumps/tools.ts'
import { installedBinaries, type ServerOptions, startServer, type TestServer } from './servers.ts'

const tools = await installedTools({ directory: null, path: (process.env.PATH ?? '').split(':') })
const newest = tools.at(-1)?.version ?? 0

const binaries = installedBinaries().find(({ major }) => major <= newest)

/** False where no PostgreSQL server is old enough for the pg_dump that is installed, if one is. */
export const canDump = binaries !== undefined

export const toolsDirectory = tools.find(({ version }) => version >= (binaries?.major ?? 0))?.directory ?? ''

export function startDumpServer(options: ServerOptions = {}): Promise<TestServer> {
  if (binaries === undefined) throw new Error('no pg_dump for any server that is installed')
  return startServer({ ...options, binaries })
}
