import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chown, mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { TenancyError } from '../errors.ts'
import { type Account, giveToOwner, run, serverEnvironment } from './account.ts'
import type { Binaries } from './binaries.ts'
import { removeTree } from './directory.ts'
import { missing, serverFailure } from './failure.ts'
import { host } from './port.ts'
import { endOrphans, findPostmaster, type Postmaster, waitUntilReady } from './process.ts'

const readyWithin = 60_000
const largeLog = 10 * 1024 * 1024

/** Title of the server's processes in `ps`; made from the path, so that a copied folder has another. */
export function clusterName(dataDirectory: string): string {
  return `tenantctl-${createHash('sha256').update(dataDirectory).digest('hex').slice(0, 12)}`
}

/**
 * Makes the data directory with initdb. It is made under another name and renamed when whole: what a killed run left
 * is never taken for a data directory, and is deleted here.
 */
export async function initialise(place: string, binaries: Binaries, account: Account, password: string): Promise<void> {
  for (const left of (await readdir(place)).filter(name => name.startsWith('initdb-'))) {
    await removeTree(join(place, left), account).catch(() => {}) // its initdb may still be dying; the next start tries again
  }
  const work = join(place, `initdb-${randomBytes(8).toString('hex')}`)
  await mkdir(work, { mode: 0o700 })
  try {
    const passwordFile = join(work, 'password')
    await writeFile(passwordFile, `${password}\n`, { mode: 0o600, flag: 'wx' })
    if (account) await chown(passwordFile, account.uid, account.gid)
    if (account) await chown(work, account.uid, account.gid)
    const locale =
      Number.parseInt(binaries.version, 10) >= 17
        ? ['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
        : ['--locale=C']
    const args = [
      '-D',
      join(work, 'data'),
      '--username=postgres',
      `--pwfile=${passwordFile}`,
      '--encoding=UTF8',
      ...locale,
    ]
    const initdb = await run(join(binaries.native, 'bin', 'initdb'), [...args, '--auth=scram-sha-256'], account)
    if (initdb.exitCode !== 0)
      throw await serverFailure('initialise', initdb.stderr || initdb.stdout, join(place, 'server.log'))
    await rename(join(work, 'data'), join(place, 'data'))
  } finally {
    await removeTree(work, account).catch(() => {})
  }
}

/**
 * Starts the server, detached from us, and waits until it accepts connections.
 * Returns null when the port was taken.
 */
export async function launch(
  place: string,
  binaries: Binaries,
  account: Account,
  port: number,
): Promise<Postmaster | null> {
  const data = join(place, 'data')
  const logFile = join(place, 'server.log')
  const until = Date.now() + readyWithin
  for (;;) {
    // nobody else starts one (we hold the lock) and it is known to be stale: postgres would stop at it if its process
    // id has been reused
    if ((await findPostmaster(data)) === null) await rm(join(data, 'postmaster.pid'), { force: true })
    const from = await startLog(logFile, place)
    const server = await spawnServer(logFile, join(binaries.native, 'bin', 'postgres'), arguments_(data, port), account)
    const postmaster = await waitUntilReady(data, until, server.alive)
    if (postmaster) return postmaster
    const output = await readFrom(logFile, from)
    if (server.alive()) {
      throw new TenancyError(
        'EMBEDDED_FAILED',
        `the embedded server is not ready after ${readyWithin / 1000} s, and still at it`,
        {
          hint: `it may be recovering after a crash: try again later; the log is in ${logFile}`,
        },
      )
    }
    if (/could not bind|could not create any TCP\/IP sockets/.test(output)) return null
    // processes of a killed server keep its shared memory: they end by themselves, or are ended
    const held = /pre-existing shared memory block|lock file "[^"]*" already exists/.test(output)
    if (!held || Date.now() > until - readyWithin + 15_000)
      throw await serverFailure('start', server.error() ?? output, logFile)
    await endOrphans(data, clusterName(data))
    await sleep(200)
  }
}

function arguments_(data: string, port: number): string[] {
  const settings = {
    listen_addresses: host,
    port,
    unix_socket_directories: '',
    max_connections: 200,
    password_encryption: 'scram-sha-256',
    fsync: 'on',
    logging_collector: 'off',
    log_destination: 'stderr',
    cluster_name: clusterName(data),
  }
  return ['-D', data, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])]
}

/** Not by pg_ctl: that hands paths to a shell unquoted, and hides why a server ended. */
async function spawnServer(logFile: string, program: string, args: string[], account: Account) {
  const log = await open(logFile, 'a', 0o600)
  let ended = false
  let reason: string | null = null
  try {
    const child = spawn(program, args, {
      ...account,
      cwd: '/',
      env: serverEnvironment,
      detached: true, // a session of its own: Ctrl-C in our terminal is not for the server
      stdio: ['ignore', log.fd, log.fd],
    })
    child.once('error', error => {
      ended = true
      reason = error.message
    })
    child.once('exit', () => {
      ended = true
    })
    child.unref()
    await Promise.race([once(child, 'spawn'), once(child, 'error')]).catch(() => {})
  } finally {
    await log.close()
  }
  return { alive: () => !ended, error: () => reason }
}

/** Returns the size of the log so far; a large one is set aside as `server.log.1`. */
async function startLog(logFile: string, place: string): Promise<number> {
  const size = (await stat(logFile).catch(missing))?.size ?? 0
  if (size > largeLog) await rename(logFile, `${logFile}.1`)
  if (size > 0 && size <= largeLog) return size
  await (await open(logFile, 'a', 0o600)).close()
  await giveToOwner(logFile, place)
  return 0
}

async function readFrom(path: string, from: number): Promise<string> {
  const file = await open(path, 'r')
  try {
    const buffer = Buffer.alloc(64 * 1024)
    const { bytesRead } = await file.read(buffer, 0, buffer.length, from)
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await file.close()
  }
}
