import { expect, test } from 'vitest'
import { scramVerifier } from '../../src/postgres/scram.ts'
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
