import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { TenancyError } from '../errors.ts'
import { Secret } from './secret.ts'

const version = 'v1'
const nonceBytes = 12
const tagBytes = 16

/** Seals passwords for the registry and opens them again. */
export interface Cipher {
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
      if (ring.length === 0) throw keyMissing()
      const [valueVersion, id = '', payload = ''] = sealed.split('.')
      const key = ring.find(each => each.id === id)
      if (valueVersion !== version || !key) {
        throw new TenancyError(
          'DECRYPTION_FAILED',
          `a password was sealed with key ${id}, which is not among the keys given`,
          {
            hint: 'add the old key to encryption.keys, after the current one',
          },
        )
      }
      const bytes = Buffer.from(payload, 'base64url')
      try {
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

/** Tells keys apart without telling what they are. */
function keyId(key: Buffer): string {
  return createHash('sha256').update('tenantctl key id\0').update(key).digest('hex').slice(0, 12)
}

function additionalData(id: string, context: string): Buffer {
  return Buffer.from(`tenantctl|${version}|${id}|${context}`)
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
