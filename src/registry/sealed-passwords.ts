import { asTenancyError, type ErrorCode, TenancyError, throwIfAborted } from '../errors.ts'
import { type Cipher, keyIdOf } from '../secrets/cipher.ts'
import { Secret } from '../secrets/secret.ts'
import type { RegistryConnection } from './connection.ts'
import { passwordContext } from './tenant-passwords.ts'

/** The columns that hold sealed passwords, and the login that each belongs to. */
const columns = {
  db_password: 'app',
  db_password_next: 'app',
  migrator_password: 'migrator',
  migrator_password_next: 'migrator',
} as const

type Column = keyof typeof columns
const names = Object.keys(columns) as Column[]

/** Every stored password, tombstones' included. */
const allValues = `tenantctl.tenants t, LATERAL (VALUES ${names.map(name => `('${name}', t.${name})`).join(', ')}) v (name, sealed)
  WHERE v.sealed IS NOT NULL`

/** So many rows are read at once; each is written for itself, so that a run that is cut off loses nothing. */
const batchSize = 200

/** What holds one password back and not all of them: a service cannot tell a tampered value from a failure of its own. */
const unreadable: ErrorCode[] = ['DECRYPTION_FAILED', 'ENCRYPTION_KEY_MISSING', 'KEY_SERVICE_FAILED']
const toleratedFailures = 10

interface RotationOptions {
  /** Also those that the first key has sealed already: for a service whose key has a new version. Default: false. */
  all?: boolean | undefined
  signal?: AbortSignal | undefined
  onProgress?: ((done: number, total: number) => void) | undefined
}

/** Passwords of one key that could not be opened. */
export interface KeyFailure {
  keyId: string
  passwords: number
  /** Slugs, at most 10. */
  tenants: string[]
  code: ErrorCode
  message: string
  hint?: string
}

/** What a change of keys came to. */
export interface KeyRotation {
  /** What all passwords are sealed with now, save for those of `failures`. */
  keyId: string
  /** Stored passwords, those of dropped tenants that are kept included. */
  total: number
  reencrypted: number
  upToDate: number
  failures: KeyFailure[]
  /** Ids of configured keys that nothing is sealed with any more: they can be taken out of the configuration. */
  unused: string[]
}

/** The stored passwords as a whole, for a change of keys. */
export class SealedPasswords {
  #known = false

  constructor(
    private readonly registry: RegistryConnection,
    private readonly cipher: Cipher,
  ) {}

  /**
   * Throws `ENCRYPTION_KEY_INVALID` when there are passwords and no configured key has sealed any: what such a key seals,
   * nobody opens who has the right one. Asked until all is well, and then never again.
   */
  async requireKnownKey(): Promise<void> {
    if (this.#known) return
    const [row] = await this.registry.query<{ known: boolean }>(
      'comparing keys',
      `SELECT NOT EXISTS (SELECT FROM tenantctl.tenants) OR EXISTS (
         SELECT FROM tenantctl.tenants WHERE pg_catalog.split_part(db_password, '.', 2) = ANY($1::text[])) AS known`,
      [this.cipher.keyIds],
    )
    if (this.cipher.keyIds.length > 0 && row?.known === false) {
      throw new TenancyError(
        'ENCRYPTION_KEY_INVALID',
        'none of the stored passwords was encrypted with the key given',
        {
          hint: `give the key that they were encrypted with: \`tenantctl key list\` tells which one it was\nif that key is lost: \`tenantctl rotate-password --all\` makes new passwords, and this key theirs`,
        },
      )
    }
    this.#known = true
  }

  /** The key that seals, those that open, and how many passwords each key has sealed. */
  async keys(): Promise<{ current: string | undefined; configured: readonly string[]; inUse: Map<string, number> }> {
    return { current: this.cipher.keyId, configured: this.cipher.keyIds, inUse: await this.#keysInUse() }
  }

  async #keysInUse(): Promise<Map<string, number>> {
    const rows = await this.registry.query<{ id: string; count: number }>(
      'counting passwords by key',
      `SELECT pg_catalog.split_part(v.sealed, '.', 2) AS id, count(*)::int AS count FROM ${allValues}
        GROUP BY 1 ORDER BY 2 DESC`,
    )
    return new Map(rows.map(({ id, count }) => [id, count]))
  }

  /** Seals every password anew that another key has sealed. Run again, it goes on where it was cut off. */
  async rotate(options: RotationOptions = {}): Promise<KeyRotation> {
    // Fails at once when there is nothing to seal with.
    const keyId = keyIdOf(await this.cipher.seal(probe, 'probe'))
    const inUse = await this.#keysInUse()
    const total = sum(inUse.values())
    const failures = new Map<string, KeyFailure>()
    let reencrypted = 0
    let last = '0'
    for (;;) {
      const rows = await this.#batch(options.all ? null : keyId, last)
      for (const row of rows) {
        throwIfAborted(options.signal)
        if (await this.#reseal(row, failures)) reencrypted += 1
      }
      const end = rows.at(-1)
      if (!end) break
      if (total > batchSize) options.onProgress?.(reencrypted, total)
      last = end.id
    }
    const after = await this.#keysInUse()
    const failed = sum([...failures.values()].map(failure => failure.passwords))
    return {
      keyId,
      total,
      reencrypted,
      upToDate: Math.max(0, total - reencrypted - failed),
      failures: [...failures.values()],
      unused: this.cipher.keyIds.filter(id => id !== keyId && !after.has(id)),
    }
  }

  /** Whole tenants in the order of their ids: the last row's id is where the next batch begins. */
  #batch(except: string | null, after: string): Promise<SealedRow[]> {
    return this.registry.query<SealedRow>(
      'reading sealed passwords',
      `WITH batch AS (
         SELECT DISTINCT t.id FROM ${allValues} AND t.id > $2
            AND ($1::text IS NULL OR pg_catalog.split_part(v.sealed, '.', 2) <> $1) ORDER BY t.id LIMIT ${batchSize})
       SELECT t.id::text, t.uuid, t.slug, v.name AS column, v.sealed FROM ${allValues} AND t.id IN (SELECT id FROM batch)
          AND ($1::text IS NULL OR pg_catalog.split_part(v.sealed, '.', 2) <> $1) ORDER BY t.id, v.name`,
      [except, after],
    )
  }

  async #reseal(row: SealedRow, failures: Map<string, KeyFailure>): Promise<boolean> {
    const context = passwordContext(row.uuid, columns[row.column])
    try {
      const password = await this.cipher.open(row.sealed, context)
      const sealed = await this.cipher.seal(password, context)
      // The old value is not given up for one that does not open.
      const opened = await this.cipher.open(sealed, context)
      if (!opened.equals(password)) throw differs()
      return await this.#replace(row, sealed)
    } catch (error) {
      const { code, message, hint } = asTenancyError(error)
      if (!unreadable.includes(code)) throw error
      const keyId = keyIdOf(row.sealed)
      const failure = failures.get(`${keyId} ${code}`)
      if (!failure) {
        const first = { keyId, passwords: 1, tenants: [row.slug], code, message, ...(hint ? { hint } : {}) }
        failures.set(`${keyId} ${code}`, first)
        return false
      }
      failure.passwords += 1
      if (failure.tenants.length < 10 && !failure.tenants.includes(row.slug)) failure.tenants.push(row.slug)
      // A service that is out would make all further rows wait for it in vain.
      if (code === 'KEY_SERVICE_FAILED' && failure.passwords > toleratedFailures) throw error
      return false
    }
  }

  /** Only if it is still what was read: meanwhile it may have been replaced by a new password. */
  async #replace({ id, column, sealed: old }: SealedRow, sealed: string): Promise<boolean> {
    const rows = await this.registry.query(
      'writing a password sealed anew',
      `UPDATE tenantctl.tenants SET ${column} = $2 WHERE id = $1 AND ${column} = $3 RETURNING id`,
      [id, sealed, old],
    )
    return rows.length > 0
  }
}

interface SealedRow {
  id: string
  uuid: string
  slug: string
  column: Column
  sealed: string
}

/** Not a password: shows that sealing works, and with what. */
const probe = new Secret('tenantctl: is there a key?')

function differs(): TenancyError {
  return new TenancyError('KEY_SERVICE_FAILED', 'a password that was sealed anew opens as something else', {
    hint: 'nothing was replaced: look at encrypt and decrypt of encryption.provider in the configuration',
  })
}

function sum(numbers: Iterable<number>): number {
  let total = 0
  for (const number of numbers) total += number
  return total
}
