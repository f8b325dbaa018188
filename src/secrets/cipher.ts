import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { TenancyError } from '../errors.ts'
import { Secret } from './secret.ts'

const version = 'v1'
const nonceBytes = 12
const tagBytes = 16

/** Seals passwords for the registry and opens them again. */
export interface Cipher {
  /** What values are sealed with from now on: the id of a key, or `ext-` and the name of a key service. */
  readonly keyId: string | undefined
  /** All that this cipher can open, `keyId` included. */
  readonly keyIds: readonly string[]
  /** `context` is bound to the value: opened with another one, it is refused. */
  seal(secret: Secret, context: string): Promise<string>
  open(sealed: string, context: string): Promise<Secret>
}

/** A new key: 32 random bytes, base64. */
export function generateEncryptionKey(): string {
  return randomBytes(32).toString('base64')
}

/**
 * AES-256-GCM with a key ring: the first key seals, every key opens. A sealed value reads
 * `v1.<key id>.<nonce, ciphertext and tag in base64url>`; version, key id and context are authenticated with it.
 */
export function keyRing(keys: readonly Secret[]): Cipher {
  const ring = keys.map(key => {
    const bytes = Buffer.from(key.reveal(), 'base64')
    if (bytes.length !== 32)
      throw new TenancyError('ENCRYPTION_KEY_INVALID', 'an encryption key is not 32 bytes in base64')
    return { id: keyId(bytes), bytes }
  })
  return {
    keyId: ring[0]?.id,
    keyIds: ring.map(key => key.id),
    async seal(secret, context) {
      const key = ring[0]
      if (!key) throw keyMissing()
      const nonce = randomBytes(nonceBytes)
      const cipher = createCipheriv('aes-256-gcm', key.bytes, nonce, { authTagLength: tagBytes })
      cipher.setAAD(additionalData(key.id, context))
      const sealed = Buffer.concat([nonce, cipher.update(secret.reveal(), 'utf8'), cipher.final(), cipher.getAuthTag()])
      return `${version}.${key.id}.${sealed.toString('base64url')}`
    },
    async open(sealed, context) {
      const id = keyIdOf(sealed)
      const [valueVersion, , ...payloads] = sealed.split('.')
      const payload = payloads.join('.')
      const key = ring.find(each => each.id === id)
      if (valueVersion !== version || !key) throw keyUnknown(id, ring.length > 0)
      const bytes = Buffer.from(payload, 'base64url')
      try {
        // What is not base64url, a Buffer passes over.
        if (bytes.toString('base64url') !== payload) throw new Error('not as it was sealed')
        const decipher = createDecipheriv('aes-256-gcm', key.bytes, bytes.subarray(0, nonceBytes), {
          authTagLength: tagBytes,
        })
        decipher.setAAD(additionalData(id, context))
        decipher.setAuthTag(bytes.subarray(-tagBytes))
        const text = Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()])
        return new Secret(text.toString('utf8'))
      } catch {
        throw new TenancyError('DECRYPTION_FAILED', 'a stored password was changed, or moved from another tenant', {
          hint: 'tenantctl rotate-password gives the tenant a new one',
        })
      }
    },
  }
}

/** The id of the key, or the name of the key service, that a value was sealed with. */
export function keyIdOf(sealed: string): string {
  return sealed.split('.')[1] ?? ''
}

/** Tells keys apart without telling what they are. */
function keyId(key: Buffer): string {
  return createHash('sha256').update('tenantctl key id\0').update(key).digest('hex').slice(0, 12)
}

function additionalData(id: string, context: string): Buffer {
  return Buffer.from(`tenantctl|${version}|${id}|${context}`)
}

function keyUnknown(id: string, others: boolean): TenancyError {
  if (id.startsWith('ext-')) {
    return new TenancyError(
      'DECRYPTION_FAILED',
      `a password was sealed by the key service "${id.slice(4)}", which is not configured`,
      { hint: 'configure it as encryption.provider; with decryptOnly, keys go on to encrypt' },
    )
  }
  if (!others) {
    return new TenancyError(
      'ENCRYPTION_KEY_MISSING',
      `a password was sealed with key ${id}, and no key is configured`,
      {
        hint: 'give that key, as TENANTCTL_ENCRYPTION_KEY or in encryption.keys; another one does not open it',
      },
    )
  }
  return new TenancyError(
    'DECRYPTION_FAILED',
    `a password was sealed with key ${id}, which is not among the keys given`,
    { hint: 'add the old key to encryption.keys, after the current one' },
  )
}

function keyMissing(): TenancyError {
  return new TenancyError(
    'ENCRYPTION_KEY_MISSING',
    'no encryption key is configured, and passwords are never stored in clear',
    {
      hint: 'export TENANTCTL_ENCRYPTION_KEY="$(tenantctl key generate)" and keep it as safe as the database itself',
    },
  )
}
