import { constants } from 'node:fs'
import { open, readdir, readFile, readlink, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { run } from './account.ts'
import { missing } from './failure.ts'

/** The living main process of a data directory. */
export interface Postmaster {
  pid: number
  port: number
  state: 'starting' | 'ready' | 'stopping'
}

const hasProc = process.platform === 'linux'

/** Start time of a process, unlike that of any later process with its id; null when it is dead or a zombie. */
export async function processBirth(pid: number): Promise<string | null> {
  if (!hasProc) {
    const { exitCode, stdout } = await run('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], null)
    const [, state = 'Z', birth = ''] = /^\s*(\S+)\s+(.*\S)/.exec(stdout) ?? []
    return exitCode !== 0 || state.startsWith('Z') ? null : birth
  }
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null)
  // fields 3 (state) and 22 (start, counted from boot); field 2 may itself hold spaces and brackets
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ')
  if (!fields?.[19] || fields[0] === 'Z' || fields[0] === 'X') return null
  return `${(await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()} ${fields[19]}`
}

/** The server of this data directory, if it lives. A `postmaster.pid` alone proves nothing: its id may be reused. */
export async function findPostmaster(dataDirectory: string): Promise<Postmaster | null> {
  const text = await readPlainFile(join(dataDirectory, 'postmaster.pid'))
  // https://www.postgresql.org/docs/current/storage-file-layout.html; lines 1, 4 and 8
  const lines = text?.split('\n') ?? []
  const pid = Math.abs(Number.parseInt(lines[0] ?? '', 10))
  if (!(pid > 1) || !(await isPostmaster(pid, dataDirectory))) return null
  const state = lines[7]?.trim()
  return { pid, port: Number(lines[3]), state: state === 'ready' || state === 'stopping' ? state : 'starting' }
}

/** Waits until the server is ready; null when it has ended or has not become ready in time. */
export async function waitUntilReady(
  dataDirectory: string,
  until: number,
  alive: () => boolean | Promise<boolean>,
): Promise<Postmaster | null> {
  while (Date.now() < until && (await alive())) {
    const postmaster = await findPostmaster(dataDirectory)
    if (postmaster?.state === 'ready') return postmaster
    await sleep(25)
  }
  return null
}

/** Waits until a process has ended. */
export async function waitForEnd(pid: number, milliseconds: number): Promise<boolean> {
  const birth = await processBirth(pid)
  const until = Date.now() + milliseconds
  while (birth !== null && (await processBirth(pid)) === birth) {
    if (Date.now() > until) return false
    await sleep(25)
  }
  return true
}

/** Ends what a killed server left running: a backend busy with a query does not notice that its server is gone. */
export async function endOrphans(dataDirectory: string, clusterName: string): Promise<void> {
  const owner = await stat(dataDirectory).catch(missing)
  if (owner === null) return
  for (const pid of await clusterProcesses(clusterName, owner.uid)) {
    try {
      process.kill(pid, 'SIGQUIT')
    } catch {
      continue // ended by itself
    }
    if (await waitForEnd(pid, 5000)) continue
    try {
      process.kill(pid, 'SIGKILL')
    } catch {}
  }
}

/** True when the process is a postgres whose data directory is this one. */
async function isPostmaster(pid: number, dataDirectory: string): Promise<boolean> {
  if (!hasProc) {
    const { stdout } = await run('ps', ['-ww', '-o', 'command=', '-p', String(pid)], null)
    return /(^|\/)postgres /.test(stdout) && stdout.includes(` ${dataDirectory} `)
  }
  const [program = '', ...args] = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')
  if (!/(^|\/)postgres$/.test(program)) return false
  if (args.includes(dataDirectory)) return true
  // the folder may have been renamed since the start; root in a container may not look, hence the arguments first
  return (await readlink(`/proc/${pid}/cwd`).catch(() => null)) === dataDirectory
}

/** Processes whose title carries the cluster's name, as those of a server do, its main process excepted. */
async function clusterProcesses(clusterName: string, uid: number): Promise<number[]> {
  const title = `postgres: ${clusterName}: `
  if (!hasProc) {
    const { stdout } = await run('ps', ['-axww', '-o', 'pid=,uid=,command='], null)
    const found = stdout.matchAll(/^\s*(\d+)\s+(-?\d+)\s+(.*)$/gm)
    return [...found]
      .filter(([, , user, command]) => Number(user) === uid && command?.startsWith(title))
      .map(match => Number(match[1]))
  }
  const found: number[] = []
  for (const name of (await readdir('/proc')).filter(name => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')
    if (command.startsWith(title) && (await stat(`/proc/${name}`).catch(() => null))?.uid === uid)
      found.push(Number(name))
  }
  return found
}

/** Reads a file of another account's folder without being led elsewhere by a link or held up by a pipe. */
export async function readPlainFile(path: string): Promise<string | null> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(missing)
  if (file === null) return null
  try {
    return (await file.stat()).isFile() ? await file.readFile('utf8') : null
  } finally {
    await file.close()
  }
}
