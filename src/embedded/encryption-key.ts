import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { lstat, open } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { TenancyError } from '../errors.ts'
import { isRoot } from './account.ts'
import { ensureDirectory, writeOnce } from './directory.ts'
import { errno, guarded, missing } from './failure.ts'

/**
 * The encryption key that goes with the embedded server: base64 of 32 random bytes, kept in `encryption.key` of its
 * folder, made on first use. Throws `ENCRYPTION_KEY_INVALID` when the file is a link, malformed, or not the user's own.
 */
export async function embeddedEncryptionKey(directory: string): Promise<string> {
  return guarded(directory, 'read the encryption key of', async () => {
    const real = await ensureDirectory(resolve(directory))
    const path = join(real, 'encryption.key')
    // what is there is read, link or not; writeOnce never replaces it, so two first runs end up with one key
    if ((await lstat(path).catch(missing)) === null) {
      await writeOnce(real, 'encryption.key', `${randomBytes(32).toString('base64')}\n`)
    }
    return readKey(path, real)
  })
}

async function readKey(path: string, directory: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(error => {
    if (errno(error) === 'ELOOP' || errno(error) === 'EMLINK')
      throw invalid(path, 'is a symbolic link', `put the key itself into ${path}`)
    throw error
  })
  try {
    const { mode, uid, ...entry } = await file.stat()
    if (!(mode & constants.S_IFREG)) throw invalid(path, 'is not a file', `move ${path} away`)
    if (process.platform !== 'win32') {
      const owners = isRoot() ? [0, (await lstat(directory)).uid] : [process.getuid?.()]
      if (!owners.includes(uid)) throw invalid(path, 'belongs to another user', `chown $(id -u) '${path}'`)
      if (mode & 0o077) throw invalid(path, 'can be read by other users', `chmod 600 '${path}'`)
    }
    const text = entry.size <= 1024 ? (await file.readFile('utf8')).trim() : ''
    if (!/^[A-Za-z0-9+/]{43}=$/.test(text)) {
      throw invalid(
        path,
        'does not hold 32 bytes in base64',
        'restore it from a copy: without it the stored passwords cannot be read',
      )
    }
    return text
  } finally {
    await file.close()
  }
}

function invalid(path: string, why: string, hint: string): TenancyError {
  return new TenancyError('ENCRYPTION_KEY_INVALID', `the encryption key ${path} ${why}`, { hint })
}
