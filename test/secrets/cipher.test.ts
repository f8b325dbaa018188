import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { generateEncryptionKey, keyRing } from '../../src/secrets/cipher.ts'
import { generatePassword } from '../../src/secrets/password.ts'
import { Secret } from '../../src/secrets/secret.ts'

const [one, two] = [new Secret(generateEncryptionKey()), new Secret(generateEncryptionKey())]
const ring = keyRing([one])

test('what was sealed opens in its own context', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'grapheme' }), fc.string(), async (text, context) => {
      const sealed = await ring.seal(new Secret(text), context)
      expect((await ring.open(sealed, context)).reveal()).toBe(text)
    }),
  )
})

test('twice the same is sealed differently', async () => {
  expect(await ring.seal(new Secret('x'), 'a')).not.toBe(await ring.seal(new Secret('x'), 'a'))
})

describe('refused as DECRYPTION_FAILED', () => {
  const refused = async (sealed: string, context = 'here', cipher = ring) =>
    expect(cipher.open(sealed, context)).rejects.toMatchObject({ code: 'DECRYPTION_FAILED' })

  test('another context', async () => {
    await refused(await ring.seal(new Secret('x'), 'here'), 'there')
  })

  test('every changed character', async () => {
    const sealed = await ring.seal(new Secret('12345'), 'here')
    for (let at = 0; at < sealed.length; at += 1) {
      const other = sealed[at] === 'A' ? 'B' : 'A'
      await refused(sealed.slice(0, at) + other + sealed.slice(at + 1))
    }
  })

  test('every length but its own', async () => {
    const sealed = await ring.seal(new Secret('12345'), 'here')
    for (let length = 0; length < sealed.length; length += 1) await refused(sealed.slice(0, length))
    for (const more of ['A', '=', '.', '.A', '\n', ' ', '!']) await refused(sealed + more)
  })

  test('a shortened tag', async () => {
    const [version, id, payload] = (await ring.seal(new Secret('12345'), 'here')).split('.') as [string, string, string]
    const bytes = Buffer.from(payload, 'base64url')
    for (let cut = 1; cut < 16; cut += 1) {
      await refused(`${version}.${id}.${bytes.subarray(0, bytes.length - cut).toString('base64url')}`)
    }
  })

  test('another key', async () => {
    await refused(await ring.seal(new Secret('x'), 'here'), 'here', keyRing([two]))
  })

  test('the id of another key of the ring', async () => {
    const [both, sealed] = [keyRing([one, two]), await ring.seal(new Secret('x'), 'here')]
    await refused(sealed.replace(`.${ring.keyId}.`, `.${keyRing([two]).keyId}.`), 'here', both)
  })

  test.each(['', '.', 'v1', 'v1..', 'v2.a.b', 'plain text'])('%j', async sealed => {
    await refused(sealed)
  })
})

test('the first key seals, every key opens, in any order', async () => {
  const old = await ring.seal(new Secret('old'), 'here')
  const rotated = keyRing([two, one])
  expect((await rotated.open(old, 'here')).reveal()).toBe('old')
  const fresh = await rotated.seal(new Secret('new'), 'here')
  expect((await keyRing([one, two]).open(fresh, 'here')).reveal()).toBe('new')
  await expect(ring.open(fresh, 'here')).rejects.toMatchObject({ code: 'DECRYPTION_FAILED' })
  expect(fresh.split('.')[1]).not.toBe(old.split('.')[1])
})

test('without keys nothing is sealed or opened', async () => {
  const sealed = await ring.seal(new Secret('x'), 'here')
  await expect(keyRing([]).seal(new Secret('x'), 'here')).rejects.toMatchObject({ code: 'ENCRYPTION_KEY_MISSING' })
  await expect(keyRing([]).open(sealed, 'here')).rejects.toMatchObject({ code: 'ENCRYPTION_KEY_MISSING' })
})

test.each(['', 'c2hvcnQ=', 'x'.repeat(44)])('%j is no key', key => {
  expect(() => keyRing([new Secret(key)])).toThrow(expect.objectContaining({ code: 'ENCRYPTION_KEY_INVALID' }))
})

test('a secret does not show itself', () => {
  const secret = new Secret('hunter2')
  const shown = [
    `${secret}`,
    JSON.stringify({ secret }),
    inspect({ secret }, { depth: 9, showHidden: true }),
    String(secret),
  ]
  expect(shown.join()).not.toContain('hunter2')
  expect(secret.reveal()).toBe('hunter2')
})

test('passwords are long, plain and never the same', () => {
  const passwords = Array.from({ length: 200 }, () => generatePassword().reveal())
  for (const password of passwords) expect(password).toMatch(/^(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9]{32}$/)
  expect(new Set(passwords).size).toBe(200)
})
