import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { TenancyError } from '../errors.ts'
import { Secret } from '../secrets/secret.ts'

const hint = '`tenantctl key generate` prints a key: 32 random bytes in base64'

/** One key in its one spelling (base64, 44 letters); base64url and white space are understood. Names `source`, never the value. */
export function parseEncryptionKey(text: string, source: string): Secret {
  const letters = text.replace(/\s+/g, '').replaceAll('-', '+').replaceAll('_', '/').replace(/=+$/, '')
  const bytes = Buffer.from(letters, 'base64')
  // Buffer skips what is not base64, so look whether the letters come back.
  const valid = bytes.length === 32 && bytes.toString('base64').replace(/=+$/, '') === letters
  if (!valid) {
    throw new TenancyError('ENCRYPTION_KEY_INVALID', `${source}: expected 32 bytes in base64, found something else`, {
      hint,
    })
  }
  return new Secret(bytes.toString('base64'))
}

/** A key, or several apart by a comma or white space: the first encrypts, all decrypt. */
export function parseEncryptionKeys(text: string, source: string): Secret[] {
  const parts = text.split(/[\s,]+/).filter(part => part !== '')
  if (parts.length === 0) throw new TenancyError('ENCRYPTION_KEY_INVALID', `${source}: no key in it`, { hint })
  return parts.map((part, index) => parseEncryptionKey(part, parts.length > 1 ? `${source}, key ${index + 1}` : source))
}

/** Keys from a file of ours (or of its folder's owner) that nobody else may read, and that is no symbolic link. */
export function readEncryptionKeyFile(file: string, source: string): Secret[] {
  const refuse = (why: string, next?: string, cause?: unknown) =>
    new TenancyError('ENCRYPTION_KEY_INVALID', `${source}: ${file} ${why}`, { hint: next, cause })
  let descriptor: number
  try {
    if (lstatSync(file).isSymbolicLink()) throw refuse('is a symbolic link', 'name the file that it leads to')
    // What was looked at must be what is opened: neither a link put there meanwhile nor a pipe that never answers.
    descriptor = openSync(file, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0))
  } catch (error) {
    if (error instanceof TenancyError) throw error
    const { code } = error as NodeJS.ErrnoException
    throw refuse(code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`)
  }
  try {
    const stats = fstatSync(descriptor)
    if (!stats.isFile()) throw refuse('is not a file')
    if (process.platform !== 'win32' && (stats.mode & 0o077) !== 0) {
      throw refuse('may be read by others than its owner', `chmod 600 ${file}`)
    }
    // Root can read everybody's files: who wrote this one knows the key.
    const ours = process.getuid?.()
    if (ours !== undefined && ![ours, 0, statSync(dirname(file)).uid].includes(stats.uid)) {
      throw refuse(`belongs to another user (${stats.uid})`, `Look at where it comes from; then: chown ${ours} ${file}`)
    }
    return parseEncryptionKeys(readFileSync(descriptor, 'utf8'), `${source}: ${file}`)
  } finally {
    closeSync(descriptor)
  }
}
