import { constants } from 'node:fs'
import { access, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { TenancyError } from '../errors.ts'
import { runTool } from './run-tool.ts'

/** PostgreSQL's own client programs, of one version. */
export interface ClientTools {
  /** Major version. */
  version: number
  directory: string
  pgDump: string
  pgRestore: string
}

/** Where to look for them; see `tools` of the configuration. */
interface ToolPlaces {
  directory: string | null
  path: readonly string[]
}

/** Folders with a folder per version, and the way from there to the programs. */
const versioned = [
  { parent: '/usr/lib/postgresql', pattern: /^\d+$/, rest: 'bin' },
  { parent: '/usr', pattern: /^pgsql-\d+$/, rest: 'bin' },
  { parent: '/opt/homebrew/opt', pattern: /^(postgresql(@\d+)?|libpq)$/, rest: 'bin' },
  { parent: '/usr/local/opt', pattern: /^(postgresql(@\d+)?|libpq)$/, rest: 'bin' },
  { parent: '/Applications/Postgres.app/Contents/Versions', pattern: /^\d+$/, rest: 'bin' },
]
const single = ['/usr/local/pgsql/bin', '/usr/local/bin', '/usr/bin']

/** Every version that is installed, oldest first, each once. */
export async function installedTools(places: ToolPlaces): Promise<ClientTools[]> {
  const directories = places.directory === null ? await usualPlaces(places.path) : [places.directory]
  const found = await Promise.all(directories.map(toolsIn))
  const byVersion = new Map<number, ClientTools>()
  for (const tools of found) if (tools && !byVersion.has(tools.version)) byVersion.set(tools.version, tools)
  return [...byVersion.values()].sort((a, b) => a.version - b.version)
}

/**
 * The oldest that is not older than the server: an older pg_dump refuses a newer server, and a newer one than needed
 * writes what an older server may not take back. `serverVersion` as in server_version_num. Throws `TOOL_MISSING`.
 */
export async function toolsFor(serverVersion: number, places: ToolPlaces): Promise<ClientTools[]> {
  const major = Math.floor(serverVersion / 10_000)
  const installed = await installedTools(places)
  const fitting = installed.filter(tools => tools.version >= major)
  if (fitting.length > 0) return fitting
  const newest = installed.at(-1)
  const where = places.directory === null ? 'on this machine' : `in ${places.directory} (tools.directory)`
  const found = newest ? `; pg_dump ${newest.version} in ${newest.directory} is older than the server` : ''
  throw new TenancyError('TOOL_MISSING', `no pg_dump and pg_restore ${major} or newer ${where}${found}`, {
    hint:
      `nothing was touched; install PostgreSQL's client programs: postgresql-client-${major} (apt), ` +
      `postgresql${major} (dnf) or postgresql@${major} (brew), or say where they are: tools.directory`,
  })
}

async function usualPlaces(path: readonly string[]): Promise<string[]> {
  const folders = await Promise.all(
    versioned.map(async ({ parent, pattern, rest }) => {
      const names = await readdir(parent).catch(() => [])
      return names.filter(name => pattern.test(name)).map(name => join(parent, name, rest))
    }),
  )
  return [...new Set([...folders.flat(), ...path, ...single])]
}

async function toolsIn(directory: string): Promise<ClientTools | undefined> {
  const suffix = process.platform === 'win32' ? '.exe' : ''
  const [pgDump, pgRestore] = ['pg_dump', 'pg_restore'].map(name => join(directory, name + suffix)) as [string, string]
  const [version, other] = await Promise.all([pgDump, pgRestore].map(versionOf))
  return version !== undefined && version === other ? { version, directory, pgDump, pgRestore } : undefined
}

async function versionOf(file: string): Promise<number | undefined> {
  try {
    await access(file, constants.X_OK)
    const { stdout } = await runTool(file, ['--version'])
    return Number(/^pg_\w+ \(.*?\) (\d+)/.exec(stdout)?.[1]) || undefined
  } catch {
    return undefined
  }
}
