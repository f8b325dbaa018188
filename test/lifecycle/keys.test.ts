import { createCipheriv, createDecipheriv, createHash, randomBytes, randomUUID } from 'node:crypto'
import { beforeAll, expect, test } from 'vitest'
import {
  createTenancy,
  type EncryptionProvider,
  generateEncryptionKey,
  Secret,
  type Tenancy,
  type TenancyConfig,
  type TenancyEvent,
} from '../../src/index.ts'
import { keyRing } from '../../src/secrets/cipher.ts'
import { tryLogin } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
const [first, second] = [generateEncryptionKey(), generateEncryptionKey()]

beforeAll(async () => {
  await withKeys({ keys: [first] }, async tenancy => {
    for (const name of ['Acme', 'Globex', 'Initech']) await tenancy.tenants.create({ name })
    await tenancy.tenants.drop({ tenants: ['initech'] }, { retain: '7d' })
  })
})

async function withKeys<T>(encryption: TenancyConfig['encryption'], work: (tenancy: Tenancy) => Promise<T>) {
  const tenancy = namespace.track(createTenancy(namespace.config({ encryption })))
  try {
    return await work(tenancy)
  } finally {
    await tenancy.close()
  }
}

const registry = (text: string) => namespace.sql<{ value: string }>(text, [], `${namespace.prefix}_registry`)

async function logsIn(tenancy: Tenancy): Promise<boolean> {
  return (await tryLogin((await tenancy.tenants.url('acme')).reveal())).ok
}

/** A key service in this process. */
function service(overrides: Partial<EncryptionProvider> = {}): EncryptionProvider {
  const key = randomBytes(32)
  return {
    name: 'test-kms',
    async encrypt(plaintext, context) {
      const nonce = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 }).setAAD(Buffer.from(context))
      const sealed = Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
      return `kms:v1:${sealed.toString('base64')}`
    },
    async decrypt(value, context) {
      const bytes = Buffer.from(value.slice('kms:v1:'.length), 'base64')
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12), { authTagLength: 16 })
      decipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(-16))
      return decipher.update(bytes.subarray(12, -16), undefined, 'utf8') + decipher.final('utf8')
    },
    ...overrides,
  }
}

test('a new first key: all rows are sealed with it, those of dropped tenants too, and the old one can go', async () => {
  const unused = await withKeys({ keys: [second, first] }, async tenancy => {
    expect((await tenancy.keys.list()).map(({ passwords, current }) => [passwords, current])).toEqual([
      [0, true],
      [3, false],
    ])
    const rotated = await tenancy.keys.rotate()
    expect(rotated).toMatchObject({ total: 3, reencrypted: 3, upToDate: 0, failures: [], unused: [expect.any(String)] })
    expect(await tenancy.keys.rotate()).toMatchObject({ total: 3, reencrypted: 0, upToDate: 3 })
    return rotated.unused
  })
  await withKeys({ keys: [second] }, async tenancy => {
    expect(await logsIn(tenancy)).toBe(true)
    expect((await tenancy.keys.list()).map(each => each.keyId)).not.toContain(unused[0])
    await tenancy.tenants.undrop('initech')
    expect((await tryLogin((await tenancy.tenants.url('initech')).reveal())).ok).toBe(true)
  })
})

test('a key that is missing is named, with how many passwords it holds back; nothing is made worse', async () => {
  const before = await registry('SELECT db_password AS value FROM tenantctl.tenants ORDER BY id')
  const third = generateEncryptionKey()
  await withKeys({ keys: [third] }, async tenancy => {
    const { failures, reencrypted } = await tenancy.keys.rotate()
    expect(reencrypted).toBe(0)
    expect(failures).toMatchObject([
      { passwords: 3, code: 'DECRYPTION_FAILED', tenants: ['acme', 'globex', 'initech'] },
    ])
    expect(failures[0]?.message).toContain(failures[0]?.keyId)
    expect(failures[0]?.keyId).toBe(before[0]?.value.split('.')[1])
  })
  expect(await registry('SELECT db_password AS value FROM tenantctl.tenants ORDER BY id')).toEqual(before)
  await withKeys({ keys: [] }, async tenancy => {
    await expect(tenancy.keys.rotate()).rejects.toMatchObject({ code: 'ENCRYPTION_KEY_MISSING' })
    const error = await tenancy.tenants.url('acme').catch(thrown => thrown)
    expect(error).toMatchObject({ code: 'ENCRYPTION_KEY_MISSING' })
    expect(error.message).toContain(before[0]?.value.split('.')[1])
  })
})

test('a key that has sealed nothing here makes no tenant that nobody else could open', async () => {
  await withKeys({ keys: [generateEncryptionKey()] }, async tenancy => {
    const refused = { code: 'ENCRYPTION_KEY_INVALID', hint: expect.stringContaining('tenantctl key list') }
    await expect(tenancy.tenants.create({ name: 'Hooli' })).rejects.toMatchObject(refused)
    await expect(tenancy.queue.create({ name: 'Hooli' })).rejects.toMatchObject(refused)
    await expect(tenancy.tenants.get('hooli')).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' })
  })
})

test('a tampered row is told and does not keep the others back', async () => {
  const third = generateEncryptionKey()
  await registry(
    `UPDATE tenantctl.tenants SET db_password = overlay(db_password PLACING 'AAAA' FROM 30) WHERE slug = 'globex'`,
  )
  await withKeys({ keys: [third, second] }, async tenancy => {
    const result = await tenancy.keys.rotate()
    expect(result).toMatchObject({ total: 3, reencrypted: 2, failures: [{ passwords: 1, tenants: ['globex'] }] })
    // Not while something is sealed with it.
    expect(result.unused).toEqual([])
    await tenancy.tenants.rotatePassword({ tenants: ['globex'] })
    expect((await tenancy.keys.rotate()).unused).toHaveLength(1)
    await withKeys({ keys: [second, third] }, async back => void (await back.keys.rotate()))
  })
})

test('a password that is on its way is sealed anew as well', async () => {
  await registry(`UPDATE tenantctl.tenants SET db_password_next = db_password WHERE slug = 'acme'`)
  await withKeys({ keys: [first, second] }, async tenancy => {
    expect(await tenancy.keys.rotate()).toMatchObject({ total: 4, reencrypted: 4, unused: [expect.any(String)] })
  })
  const [row] = await registry(`SELECT db_password_next AS value FROM tenantctl.tenants WHERE slug = 'acme'`)
  await registry('UPDATE tenantctl.tenants SET db_password_next = NULL')
  await withKeys({ keys: [second, first] }, async tenancy => {
    expect(row?.value.split('.')[1]).toBe((await tenancy.keys.list())[1]?.keyId)
    await tenancy.keys.rotate()
  })
})

test('more rows than a batch, a rotation that is cut off, and one that runs twice at once', async () => {
  const cipher = keyRing([new Secret(second)])
  const ids = Array.from({ length: 450 }, () => randomUUID())
  const sealed = await Promise.all(ids.map(id => cipher.seal(new Secret('x'.repeat(32)), `${id}|db_password`)))
  await namespace.sql(
    `INSERT INTO tenantctl.tenants (uuid, slug, name, server_id, db_name, db_username, db_password)
     SELECT id, 'many-' || n, 'x', 1, 'many_' || n, 'many_' || n, sealed
       FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY many (id, sealed, n)`,
    [ids, sealed],
    `${namespace.prefix}_registry`,
  )
  const controller = new AbortController()
  await withKeys({ keys: [first, second] }, async tenancy => {
    const onEvent = (event: TenancyEvent) => event.event === 'notice' && controller.abort()
    await expect(tenancy.keys.rotate({ signal: controller.signal, onEvent })).rejects.toMatchObject({ code: 'ABORTED' })
    const [current, old] = await tenancy.keys.list()
    expect(current?.passwords).toBeGreaterThan(100)
    expect((current?.passwords ?? 0) + (old?.passwords ?? 0)).toBe(453)
    expect(await tenancy.keys.rotate()).toMatchObject({ total: 453, reencrypted: old?.passwords, failures: [] })
  })
  await registry(`DELETE FROM tenantctl.tenants WHERE slug LIKE 'many-%'`)
  await withKeys({ keys: [second, first] }, async tenancy => {
    const [one, other] = await Promise.all([tenancy.keys.rotate(), tenancy.keys.rotate()])
    expect((one?.reencrypted ?? 0) + (other?.reencrypted ?? 0)).toBe(3)
    expect(await logsIn(tenancy)).toBe(true)
  })
})

test('to a key service and back', async () => {
  const provider = service()
  await withKeys({ keys: [second], provider }, async tenancy => {
    expect(await tenancy.keys.rotate()).toMatchObject({
      keyId: 'ext-test-kms',
      reencrypted: 3,
      unused: [expect.any(String)],
    })
    expect(await tenancy.keys.rotate({ all: true })).toMatchObject({ reencrypted: 3 })
  })
  const [row] = await registry('SELECT db_password AS value FROM tenantctl.tenants LIMIT 1')
  expect(row?.value).toMatch(/^v1\.ext-test-kms\.[A-Za-z0-9_-]{40,}$/)
  await withKeys({ provider }, async tenancy => {
    expect(await logsIn(tenancy)).toBe(true)
    await tenancy.tenants.create({ name: 'Hooli' })
    await tenancy.tenants.rotatePassword({ tenants: ['acme'] })
    expect(await logsIn(tenancy)).toBe(true)
  })
  await withKeys({ keys: [second] }, async tenancy => {
    const error = await tenancy.tenants.url('acme').catch(thrown => thrown)
    expect(error).toMatchObject({ code: 'DECRYPTION_FAILED', message: expect.stringContaining('test-kms') })
  })
  // A value that was moved to another tenant.
  await registry(`UPDATE tenantctl.tenants SET db_password_next = db_password`)
  await registry(`UPDATE tenantctl.tenants t SET db_password = o.db_password FROM tenantctl.tenants o
    WHERE t.slug = 'globex' AND o.slug = 'acme'`)
  await withKeys({ provider }, async tenancy => {
    await expect(tenancy.tenants.url('globex')).rejects.toMatchObject({ code: 'KEY_SERVICE_FAILED' })
  })
  await registry(`UPDATE tenantctl.tenants SET db_password = db_password_next, db_password_next = NULL`)
  await withKeys({ keys: [second], provider: { ...provider, decryptOnly: true } }, async tenancy => {
    expect(await tenancy.keys.rotate()).toMatchObject({ reencrypted: 4, unused: ['ext-test-kms'] })
  })
  await withKeys({ keys: [second] }, async tenancy => expect(await logsIn(tenancy)).toBe(true))
})

test.each([
  ['that fails', { encrypt: async (plaintext: string) => Promise.reject(new Error(`cannot take ${plaintext}`)) }],
  [
    'that fails at a part of it',
    { encrypt: async (text: string) => Promise.reject(new Error(text.split(' ').join(', '))) },
  ],
  ['that gives nothing', { encrypt: async () => undefined as unknown as string }],
  ['that gives the password back', { encrypt: async (plaintext: string) => `base64:${plaintext}` }],
  ['whose answer is too short', { encrypt: async () => createHash('md5').update('x').digest('hex').slice(0, 20) }],
])('a key service %s: told, the password is not, and nothing is changed', async (_what, overrides) => {
  const before = await registry('SELECT db_password AS value FROM tenantctl.tenants ORDER BY id')
  await withKeys({ keys: [second], provider: service(overrides) }, async tenancy => {
    const password = new URL((await tenancy.tenants.url('acme')).reveal()).password
    const error = await tenancy.keys.rotate().catch(thrown => thrown)
    expect(error).toMatchObject({ code: 'KEY_SERVICE_FAILED', message: expect.stringContaining('test-kms') })
    expect(error.message).not.toContain(password)
    await expect(tenancy.tenants.create({ name: 'New' })).rejects.toMatchObject({ code: 'KEY_SERVICE_FAILED' })
  })
  expect(await registry('SELECT db_password AS value FROM tenantctl.tenants ORDER BY id')).toEqual(before)
})

test('a service that encrypts and cannot decrypt loses nothing', async () => {
  const provider = service({ decrypt: async () => 'something else' })
  await withKeys({ keys: [second], provider }, async tenancy => {
    expect((await tenancy.keys.rotate()).failures).toMatchObject([{ code: 'KEY_SERVICE_FAILED', passwords: 4 }])
    expect(await logsIn(tenancy)).toBe(true)
  })
})
