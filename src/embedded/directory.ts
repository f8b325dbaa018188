import { randomBytes } from 'node:crypto'
import { chmod, link, lstat, mkdir, open, readdir, readFile, realpath, rename, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { TenancyError } from '../errors.ts'
import { type Account, giveToOwner, isRoot, run } from './account.ts'
import { errno, missing } from './failure.ts'

/** What `server.json` in the `.tenantctl` folder keeps. Readable by its owner alone, as it holds the password. */
export interface ServerRecord {
  port: number
  password: string
  /** Of the binaries the server was last started with. */
  version: string
  /** Folder with data and log when the server's user cannot enter `.tenantctl`; null: they are in it. */
  outside: string | null
}

const marks = /^(server\.json|encryption\.key|lock\.\d+)$/
const passing = /^(\.gitignore|temporary-.+|lock\.new-.+)$/ // seen while another process makes the folder
const ours =
  /^(data|server\.json|server\.log(\.1)?|encryption\.key|\.gitignore|lock\..+|(initdb|postgresql|temporary)-.+)$/

/**
 * Makes the folder if needed, closed to others and unseen by git, and returns its real path.
 * As root it is 0711: the server's user has to pass through it to its data; secrets in it are files of mode 0600.
 */
export async function ensureDirectory(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true })
  const real = await realpath(directory)
  const entries = await readdir(real)
  if (entries.some(name => !passing.test(name)) && !entries.some(name => marks.test(name))) {
    throw new TenancyError('CONFIG_INVALID', `${directory} holds other files and was not made by tenantctl`, {
      hint: 'name a folder of its own with embedded.directory',
    })
  }
  const { uid, mode } = await lstat(real)
  const wanted = isRoot() && uid === 0 ? 0o711 : 0o700
  if ((mode & 0o777) !== wanted) await chmod(real, wanted)
  if (!entries.includes('.gitignore')) await writeOnce(real, '.gitignore', '*\n')
  return real
}

export async function readRecord(directory: string): Promise<ServerRecord | null> {
  const text = await readFile(join(directory, 'server.json'), 'utf8').catch(missing)
  if (text === null) return null
  try {
    const { port, password, version, outside } = JSON.parse(text)
    if (Number.isInteger(port) && typeof password === 'string' && typeof version === 'string') {
      return { port, password, version, outside: typeof outside === 'string' ? outside : null }
    }
  } catch {}
  throw new TenancyError('EMBEDDED_FAILED', `${join(directory, 'server.json')} is damaged`, {
    hint: 'restore it, or delete the embedded server and its data with: tenantctl embedded reset',
  })
}

export async function writeRecord(directory: string, record: ServerRecord): Promise<void> {
  const temporary = await writeTemporary(directory, 'temporary-', `${JSON.stringify(record, null, 2)}\n`)
  await rename(temporary, join(directory, 'server.json'))
}

/** Writes a file that nobody else sees half-written; false when it is there already, whoever made it. */
export async function writeOnce(directory: string, name: string, text: string): Promise<boolean> {
  const temporary = await writeTemporary(directory, 'temporary-', text)
  try {
    await link(temporary, join(directory, name))
    return true
  } catch (error) {
    if (errno(error) === 'EEXIST') return false
    throw error
  } finally {
    await rm(temporary, { force: true })
  }
}

/** A new file of mode 0600 to be linked or renamed to its name. Returns its path. */
export async function writeTemporary(directory: string, prefix: string, text: string): Promise<string> {
  const path = join(directory, `${prefix}${randomBytes(8).toString('hex')}`)
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } catch (error) {
    await rm(path, { force: true })
    throw error
  } finally {
    await file.close()
  }
  await giveToOwner(path, directory)
  return path
}

/** Deletes what tenantctl made in the folder, locks last, and the folder too when nothing else is in it. */
export async function removeOurFiles(directory: string, account: Account): Promise<void> {
  for (const name of (await readdir(directory)).filter(name => ours.test(name) && !name.startsWith('lock.'))) {
    await removeTree(join(directory, name), account)
  }
  // unlinked locks first: one who has just written its own must find it gone and look again (see lock.ts)
  const locks = (await readdir(directory)).filter(name => name.startsWith('lock.')).sort()
  for (const name of locks.reverse()) await rm(join(directory, name), { force: true })
  await rmdir(directory).catch(error => {
    if (!['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(errno(error) ?? '')) throw error
  })
}

/**
 * Deletes a folder of the server's account with that account's rights: root walking through a folder that
 * another user can change at the same time could be led elsewhere by a symbolic link.
 */
export async function removeTree(path: string, account: Account): Promise<void> {
  const entry = await lstat(path).catch(missing)
  if (entry === null) return
  if (account && entry.isDirectory() && entry.uid !== 0) {
    // the working directory is entered before root's rights are given up, so the path may be closed to the account
    await run('/bin/sh', ['-c', 'rm -rf -- * .[!.]*'], { uid: entry.uid, gid: entry.gid }, path)
    await rmdir(path).catch(missing)
  } else {
    await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }
}
