import { notify } from '../events.ts'
import type { RunOptions } from '../provisioning/create.ts'
import type { KeyRotation } from '../registry/sealed-passwords.ts'
import type { LazyParts } from './parts.ts'

/** How to follow and to end a change of keys. */
export interface KeyRotationOptions extends RunOptions {
  /**
   * Also passwords that the first key has sealed already: a key service may have a new version of its key.
   * Default: false.
   */
  all?: boolean | undefined
}

/** One of the keys that tenants' passwords are sealed with. */
export interface KeyUse {
  /** A hash of the key, or `ext-` and the name of the key service. */
  keyId: string
  /** Stored passwords that it has sealed, those of dropped tenants that are kept included. */
  passwords: number
  configured: boolean
  /** The one that encrypts from now on. */
  current: boolean
}

/** The keys that tenants' passwords are encrypted with in the registry. */
export class EncryptionKeys {
  /** @internal */
  constructor(private readonly parts: LazyParts) {}

  /**
   * Seals all stored passwords with the first key, or with the key service. Can be cut off and run again. Returns also
   * when some could not be opened: `failures` says with which key they are sealed. Throws `ENCRYPTION_KEY_MISSING`, or
   * `KEY_SERVICE_FAILED` when the service gives no answer.
   */
  async rotate(options: KeyRotationOptions = {}): Promise<KeyRotation> {
    const parts = await this.parts.get()
    const { onEvent = parts.config.onEvent, signal, all } = options
    const onProgress = (done: number, total: number) =>
      notify(onEvent, { event: 'notice', message: `encrypted ${done} of ${total} passwords anew` })
    return parts.sealed.rotate({ signal, all, onProgress })
  }

  /** The keys in use and those configured, the one that encrypts first. */
  async list(): Promise<KeyUse[]> {
    const { current, configured, inUse } = await (await this.parts.get()).sealed.keys()
    return [...new Set([...(current === undefined ? [] : [current]), ...configured, ...inUse.keys()])].map(keyId => ({
      keyId,
      passwords: inUse.get(keyId) ?? 0,
      configured: configured.includes(keyId),
      current: keyId === current,
    }))
  }
}
