import { execFile } from 'node:child_process'
import { chown, lstat, stat } from 'node:fs/promises'
import { missing } from './failure.ts'

/** The operating system's user that the server runs as; null is the user we are. */
export type Account = { uid: number; gid: number } | null

export interface Outcome {
  /** Exit code; null when the program could not be run or was killed. */
  exitCode: number | null
  stdout: string
  stderr: string
}

/**
 * What the server and its helpers see of the environment: nothing of the caller's. Its keys and passwords do not
 * belong in a server that outlives it, and PGPORT and friends would change what the server does.
 */
export const serverEnvironment = { PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin', LC_ALL: 'C', HOME: '/' }

export function isRoot(): boolean {
  return process.getuid?.() === 0
}

/** PostgreSQL refuses to run as root: for root, the owner of the data if there are any, else postgres or nobody. */
export async function serverAccount(dataDirectory: string | null): Promise<Account> {
  if (!isRoot()) return null
  const owner = dataDirectory === null ? null : await stat(dataDirectory).catch(missing)
  if (owner && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid }
  for (const name of ['postgres', '_postgres', 'nobody']) {
    const [uid, gid] = await Promise.all([run('id', ['-u', name], null), run('id', ['-g', name], null)])
    // `| 0`: nobody is -2 on macOS and may be printed as 4294967294
    if (uid.exitCode === 0 && gid.exitCode === 0 && Number(uid.stdout) !== 0) {
      return { uid: Number(uid.stdout) | 0, gid: Number(gid.stdout) | 0 }
    }
  }
  return { uid: 65534, gid: 65534 }
}

/** Runs a program to its end as that account, by default away from folders the account may not enter. Never throws. */
export function run(file: string, args: string[], account: Account, cwd = '/'): Promise<Outcome> {
  return new Promise(resolve => {
    const options = { ...account, cwd, env: serverEnvironment, maxBuffer: 16 * 1024 * 1024 }
    try {
      const child = execFile(file, args, options, (error, stdout, stderr) => {
        const exitCode = error === null ? 0 : typeof error.code === 'number' ? error.code : null
        resolve({ exitCode, stdout, stderr: stderr || (exitCode === null ? (error?.message ?? '') : '') })
      })
      child.stdin?.end()
    } catch (error) {
      resolve({ exitCode: null, stdout: '', stderr: (error as Error).message })
    }
  })
}

/** Gives what root made in another user's folder to that user, who could not read it otherwise. */
export async function giveToOwner(path: string, directory: string): Promise<void> {
  if (!isRoot()) return
  const { uid, gid } = await lstat(directory)
  if (uid !== 0) await chown(path, uid, gid)
}
