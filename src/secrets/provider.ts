import { TenancyError } from '../errors.ts'
import { type Cipher, keyIdOf, keyRing } from './cipher.ts'
import { Secret } from './secret.ts'

/** A key service that encrypts in our place: Vault, a cloud's KMS, an HSM. */
export interface EncryptionProvider {
  /** Stands in every value that it has encrypted: a-z, 0-9, `_` and `-`, at most 60. Default: `external`. */
  name?: string | undefined
  /**
   * Encrypts a tenant's password, and what a login would have to work out of it. `context` says whose it is; bind it to
   * the result as associated data, so that a value that was moved to another tenant does not open. At least 30 bytes of
   * text come out, which may be anything.
   */
  encrypt(plaintext: string, context: string): Promise<string>
  /** The plaintext of what `encrypt` gave; throws when value or context are not what they were. */
  decrypt(value: string, context: string): Promise<string>
  /** Keys encrypt, and the service only opens what it has encrypted: for the way back to keys. Default: false. */
  decryptOnly?: boolean | undefined
}

export function isEncryptionProvider(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { name, encrypt, decrypt, decryptOnly } = value as Record<string, unknown>
  const named = name === undefined || (typeof name === 'string' && /^[0-9a-z_-]{1,60}$/.test(name))
  const only = decryptOnly === undefined || typeof decryptOnly === 'boolean'
  return named && only && typeof encrypt === 'function' && typeof decrypt === 'function'
}

/**
 * A key ring, and a key service before it where there is one: whatever sealed a value opens it, so that `key rotate`
 * can move all of them from one to the other. What the service sealed reads `v1.ext-<name>.<base64url>`.
 */
export function createCipher(keys: readonly Secret[], provider: EncryptionProvider | undefined): Cipher {
  const ring = keyRing(keys)
  if (!provider) return ring
  const id = `ext-${provider.name ?? 'external'}`
  const seals = provider.decryptOnly !== true
  return {
    keyId: seals ? id : ring.keyId,
    keyIds: [id, ...ring.keyIds],
    async seal(secret, context) {
      if (!seals) return ring.seal(secret, context)
      const plaintext = secret.reveal()
      const secrets = secretsOf(plaintext)
      const value = await ask('encrypting', secrets, () => provider.encrypt(plaintext, context))
      if (secrets.some(each => value.includes(each)))
        throw unusable('encrypting', 'its answer holds the password itself')
      const payload = Buffer.from(value).toString('base64url')
      // What the registry takes for a sealed value.
      if (payload.length < 40) throw unusable('encrypting', `its answer has ${Buffer.byteLength(value)} bytes only`)
      return `v1.${id}.${payload}`
    },
    async open(sealed, context) {
      if (keyIdOf(sealed) !== id) return ring.open(sealed, context)
      const value = Buffer.from(sealed.slice(sealed.lastIndexOf('.') + 1), 'base64url').toString()
      return new Secret(await ask('decrypting', [], () => provider.decrypt(value, context)))
    },
  }

  async function ask(doing: string, secrets: string[], call: () => Promise<string>): Promise<string> {
    let answer: unknown
    try {
      answer = await call()
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      // A service may quote what it was given.
      const told = secrets.reduce((text, each) => text.replaceAll(each, '***'), message)
      throw new TenancyError('KEY_SERVICE_FAILED', `${doing} with the key service "${id.slice(4)}": ${told}`, {
        hint: 'is it reachable, and may it use the key? Nothing was changed; run the command again',
      })
    }
    if (typeof answer !== 'string' || answer === '') throw unusable(doing, 'its answer is not a text')
    return answer
  }

  function unusable(doing: string, why: string): TenancyError {
    return new TenancyError('KEY_SERVICE_FAILED', `${doing} with the key service "${id.slice(4)}": ${why}`, {
      hint: 'look at encrypt and decrypt of encryption.provider in the configuration',
    })
  }
}

/** All of it, the password, its key: each is as secret as all. What is shorter may stand in any text. */
function secretsOf(plaintext: string): string[] {
  return [plaintext, ...plaintext.split(' ').filter(word => word.length >= 16)]
}
