import { chmod, link, mkdtemp, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { embeddedEncryptionKey } from '../../src/embedded/encryption-key.ts'

let directory: string
let file: string

beforeAll(async () => {
  directory = join(await mkdtemp(join(tmpdir(), 'tenantctl-key-')), '.tenantctl')
  file = join(directory, 'encryption.key')
})

afterAll(() => rm(join(directory, '..'), { recursive: true, force: true }))

test('is made once, by many at a time too, for the user alone', async () => {
  const keys = await Promise.all(Array.from({ length: 20 }, () => embeddedEncryptionKey(directory)))
  expect(new Set(keys).size).toBe(1)
  expect(Buffer.from(keys[0] ?? '', 'base64')).toHaveLength(32)
  expect((await readFile(file, 'utf8')).trim()).toBe(keys[0])
  expect((await stat(file)).mode & 0o777).toBe(0o600)
})

test('is refused when others can read it, malformed, a link, or no file', async () => {
  const refused = { code: 'ENCRYPTION_KEY_INVALID' }
  const key = await embeddedEncryptionKey(directory)
  for (const mode of [0o640, 0o604, 0o620]) {
    await chmod(file, mode)
    await expect(embeddedEncryptionKey(directory)).rejects.toMatchObject({ ...refused, hint: `chmod 600 '${file}'` })
  }
  await chmod(file, 0o600)
  await writeFile(file, 'c2hvcnQ=')
  await expect(embeddedEncryptionKey(directory)).rejects.toMatchObject(refused)
  await writeFile(file, '')
  await expect(embeddedEncryptionKey(directory)).rejects.toMatchObject(refused)
  await writeFile(file, key)
  await rename(file, `${file}.real`)
  await symlink(`${file}.real`, file)
  await expect(embeddedEncryptionKey(directory)).rejects.toMatchObject({
    ...refused,
    message: expect.stringContaining('symbolic link'),
  })
  await rm(file)
  await symlink('/nonexistent', file)
  await expect(embeddedEncryptionKey(directory)).rejects.toMatchObject(refused)
  await rm(file)
  await link(`${file}.real`, file)
  expect(await embeddedEncryptionKey(directory)).toBe(key)
})
