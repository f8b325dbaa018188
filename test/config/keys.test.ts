import { execFileSync } from 'node:child_process'
import { chownSync, symlinkSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parseEncryptionKey, parseEncryptionKeys, readEncryptionKeyFile } from '../../src/config/keys.ts'
import { failure, folder } from './support.ts'

const bytes = Buffer.from(Array.from({ length: 32 }, (_, index) => 255 - index))
const key = bytes.toString('base64')
const other = Buffer.alloc(32, 1).toString('base64')

describe('an encryption key', () => {
  it.each([key, key.replace('=', ''), bytes.toString('base64url'), ` ${key}\n`])('may be spelled %j', text => {
    expect(parseEncryptionKey(text, 'x').reveal()).toBe(key)
  })

  it.each(['', 'hunter2', key.slice(4), `${key}AAAA`, bytes.toString('hex'), key.replace('/', '!')])(
    'is not %j, which is not shown',
    async text => {
      const error = await failure(() => parseEncryptionKey(text, 'TENANTCTL_ENCRYPTION_KEY'))
      expect(error).toMatchObject({ code: 'ENCRYPTION_KEY_INVALID', hint: expect.stringContaining('key generate') })
      expect(error.message).toBe('TENANTCTL_ENCRYPTION_KEY: expected 32 bytes in base64, found something else')
    },
  )

  it('may be followed by older ones', async () => {
    expect(parseEncryptionKeys(`${key},${other}\n`, 'x').map(secret => secret.reveal())).toEqual([key, other])
    expect((await failure(() => parseEncryptionKeys(`${key} no`, 'x'))).message).toContain('x, key 2')
  })
})

describe('a key file', () => {
  it('is read when it is private', () => {
    const directory = folder({ key: `${key}\n${other}\n` })
    expect(readEncryptionKeyFile(`${directory}/key`, 'FILE').map(secret => secret.reveal())).toEqual([key, other])
  })

  it.each([0o640, 0o604, 0o666])('of mode %o is refused, with the command to mend it', async mode => {
    const file = `${folder({ key }, mode)}/key`
    const error = await failure(() => readEncryptionKeyFile(file, 'FILE'))
    expect(error).toMatchObject({ code: 'ENCRYPTION_KEY_INVALID', hint: `chmod 600 ${file}` })
    expect(error.message).toMatch(/^FILE: .*others/)
  })

  it.runIf(process.getuid?.() === 0)('of another user is refused', async () => {
    const file = `${folder({ key })}/key`
    chownSync(file, 54321, 54321)
    const error = await failure(() => readEncryptionKeyFile(file, 'FILE'))
    expect(error).toMatchObject({ code: 'ENCRYPTION_KEY_INVALID', message: expect.stringContaining('54321') })
  })

  it('must be a file with a key in it, and no link to one', async () => {
    const directory = folder({ key, empty: '\n', wrong: 'hunter2' })
    symlinkSync(`${directory}/key`, `${directory}/link`)
    execFileSync('mkfifo', ['-m', '600', `${directory}/pipe`])
    const refusal = async (name: string) => {
      const error = await failure(() => readEncryptionKeyFile(`${directory}/${name}`, 'FILE'))
      expect(error.code).toBe('ENCRYPTION_KEY_INVALID')
      expect(error.message).not.toContain('hunter2')
      return error.message
    }
    expect(await refusal('link')).toContain('symbolic link')
    expect(await refusal('pipe')).toContain('is not a file')
    expect(await refusal('.')).toContain('is not a file')
    expect(await refusal('none')).toContain('does not exist')
    expect(await refusal('empty')).toContain('no key in it')
    expect(await refusal('wrong')).toContain('expected 32 bytes')
  })
})
