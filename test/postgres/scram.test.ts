import { expect, test } from 'vitest'
import { parseAddress } from '../../src/postgres/address.ts'
import { connect } from '../../src/postgres/connect.ts'
import { answer, knownKey, type ScramKey, scramVerifier, withKey, withoutKey } from '../../src/postgres/scram.ts'
import { Secret } from '../../src/secrets/secret.ts'
import { tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()

test('the password of RFC 7677, section 3', async () => {
  // The keys behind the proof and the signature of its example exchange.
  const verifier = await scramVerifier(new Secret('pencil'), Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64'))
  expect(verifier.reveal()).toBe(
    'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
  )
})

test.each(['pencil', 'a b', '\\\'"$%', '~'.repeat(200)])(
  'the server stores it as it stands and lets %j in',
  async password => {
    const role = `${namespace.prefix}_scram_${password.length}`
    const verifier = (await scramVerifier(new Secret(password))).reveal()
    await namespace.sql(`CREATE ROLE ${role} LOGIN PASSWORD '${verifier}'`)
    expect(await namespace.superSql('SELECT rolpassword FROM pg_authid WHERE rolname = $1', [role])).toEqual([
      { rolpassword: verifier },
    ])
    expect(await tryLogin(urlWith(namespace.adminUrl, { user: role, password }))).toMatchObject({
      ok: true,
      user: role,
    })
    expect(await tryLogin(urlWith(namespace.adminUrl, { user: role, password: `${password}x` }))).toMatchObject({
      code: '28P01',
    })
  },
)

test('each has a salt of its own', async () => {
  const [one, two] = await Promise.all([scramVerifier(new Secret('x')), scramVerifier(new Secret('x'))])
  expect(one.reveal()).not.toBe(two.reveal())
})

test.each(['', 'größe', 'a\n', '\u0007'])('%j is refused: the server would normalise it', async password => {
  await expect(scramVerifier(new Secret(password))).rejects.toMatchObject({ code: 'USAGE' })
})

async function roleWithKey(name: string): Promise<{ login: (password: Secret) => Promise<string>; stored: Secret }> {
  const role = `${namespace.prefix}_${name}`
  const password = new Secret('as stored')
  const stored = await withKey(password)
  await namespace.sql(`CREATE ROLE ${role} LOGIN PASSWORD '${(await scramVerifier(password)).reveal()}'`)
  const address = parseAddress(new Secret(urlWith(namespace.adminUrl, { user: role })))
  const login = async (given: Secret) => {
    const client = await connect({ ...address, password: given })
    const { rows } = await client.query('SELECT current_user AS name')
    await client.end()
    return rows[0].name
  }
  return { login, stored }
}

test('a key that is stored with the password logs in, and is what logs in', async () => {
  const { login, stored } = await roleWithKey('key')
  const password = withoutKey(stored)
  expect(password.reveal()).toBe('as stored')
  expect(await login(password)).toBe(`${namespace.prefix}_key`)
  const salted = stored.reveal().split('$').at(-1) as string
  const other = Buffer.from(salted, 'base64').reverse().toString('base64')
  const wrong = withoutKey(new Secret(stored.reveal().replace(salted, other)))
  expect(wrong.reveal()).toBe('as stored')
  await expect(login(wrong)).rejects.toMatchObject({ sqlstate: '28P01' })
})

test('the password itself logs in where the server has it with another salt', async () => {
  const { login } = await roleWithKey('salt')
  const elsewhere = withoutKey(await withKey(new Secret('as stored')))
  expect(await login(elsewhere)).toBe(`${namespace.prefix}_salt`)
})

test.each(['plain', 'SCRAM-SHA-256$4096:x$y', 'two words', 'x SCRAM-SHA-256$4096:$'])(
  '%j is a password without a key, as registries of earlier versions have them',
  async text => {
    const secret = withoutKey(new Secret(text))
    expect(secret.reveal()).toBe(text)
    expect(knownKey(secret)).toBeUndefined()
  },
)

test('an answer to a nonce that is not ours, or to another number of rounds, is not given', async () => {
  const password = new Secret('pencil')
  await scramVerifier(password)
  const key = (await knownKey(password)) as ScramKey
  const of = (nonce: string, rounds = 4096) => answer(key, 'ours', `r=${nonce},s=${key.salt},i=${rounds}`)
  expect(of('ours+theirs')).toMatchObject({ response: expect.stringMatching(/^c=biws,r=ours\+theirs,p=[\w+/]{43}=$/) })
  expect(of('ours')).toBeUndefined()
  expect(of('theirs')).toBeUndefined()
  expect(of('ours+theirs', 1)).toBeUndefined()
  expect(answer(key, 'ours', `r=ours+theirs,s=${key.salt},i=4096,m=x`)).toBeUndefined()
})
