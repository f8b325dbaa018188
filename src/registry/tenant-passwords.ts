import { isTenancyError, TenancyError } from '../errors.ts'
import { withKey, withoutKey } from '../postgres/scram.ts'
import type { Cipher } from '../secrets/cipher.ts'
import type { Secret } from '../secrets/secret.ts'
import type { RegistryConnection } from './connection.ts'
import { rolesOf } from './roles.ts'
import type { Tenant, TenantCredentials } from './tenant.ts'
import type { TenantLogin } from './tenant-registry.ts'

/** A password for each login of a tenant. */
export type Passwords = ReadonlyMap<TenantLogin, Secret>

/** Where the passwords of each login stand: the one in force, and the one on its way. */
const columnsOf = {
  app: { current: 'db_password', next: 'db_password_next' },
  migrator: { current: 'migrator_password', next: 'migrator_password_next' },
} as const

/** Binds a sealed password to its tenant and login: moved to another row or column, it does not open. */
export function passwordContext(id: string, login: TenantLogin): string {
  return `${id}|${columnsOf[login].current}`
}

/** As it is stored: with what a login would have to work out of it, see `ScramKey`. */
export async function sealPassword(cipher: Cipher, password: Secret, id: string, login: TenantLogin): Promise<string> {
  return cipher.seal(await withKey(password), passwordContext(id, login))
}

async function openPassword(cipher: Cipher, sealed: string, id: string, login: TenantLogin): Promise<Secret> {
  return withoutKey(await cipher.open(sealed, passwordContext(id, login)))
}

/** The logins of a tenant that have a password of their own. */
export function loginsOf({ roles }: Pick<Tenant, 'roles'>): TenantLogin[] {
  return roles === 'separate' ? ['app', 'migrator'] : ['app']
}

/** The password of a login as it is stored, and the one on its way to the server. */
export interface SealedPassword {
  current: string | null
  next: string | null
}

/** Whose password opens a login: with `roles: 'single'` there is one for both. */
export function passwordOf({ roles }: Pick<Tenant, 'roles'>, login: TenantLogin): TenantLogin {
  return roles === 'separate' ? login : 'app'
}

/** Opens a stored login. Throws `DECRYPTION_FAILED` or `ENCRYPTION_KEY_MISSING`. */
export async function openCredentials(
  cipher: Cipher,
  tenant: Pick<Tenant, 'id' | 'slug' | 'username' | 'roles'>,
  login: TenantLogin,
  { current, next }: SealedPassword,
): Promise<TenantCredentials> {
  const of = passwordOf(tenant, login)
  try {
    if (current === null) throw new TenancyError('DECRYPTION_FAILED', `there is no password of the ${of} role`)
    return {
      username: rolesOf(tenant)[login],
      password: await openPassword(cipher, current, tenant.id, of),
      next: await openNext(cipher, next, tenant.id, of),
    }
  } catch (error) {
    throw isTenancyError(error) ? error.with({ tenant: tenant.slug }) : error
  }
}

/** What a stored password on its way says; undefined when there is none, or it cannot be read. */
async function openNext(
  cipher: Cipher,
  sealed: string | null,
  id: string,
  login: TenantLogin,
): Promise<Secret | undefined> {
  if (sealed === null) return undefined
  try {
    return await openPassword(cipher, sealed, id, login)
  } catch (error) {
    // The one in force may be the right one all the same.
    if (isTenancyError(error)) return undefined
    throw error
  }
}

/** Passwords on their way to the server: written down before it gets them, in force once they were seen to work. */
export class TenantPasswords {
  constructor(
    private readonly registry: RegistryConnection,
    private readonly cipher: Cipher,
  ) {}

  /** Those of a rotation that has not come to its end; undefined also when they cannot be read any more. */
  async pending(tenant: Pick<Tenant, 'id' | 'roles'>): Promise<Passwords | undefined> {
    const [row] = await this.registry.query<Record<string, string | null>>(
      'reading a password on its way',
      'SELECT db_password_next, migrator_password_next FROM tenantctl.tenants WHERE uuid = $1',
      [tenant.id],
    )
    const passwords = new Map<TenantLogin, Secret>()
    for (const login of loginsOf(tenant)) {
      const sealed = row?.[columnsOf[login].next]
      if (!sealed) return undefined
      try {
        passwords.set(login, await openPassword(this.cipher, sealed, tenant.id, login))
      } catch (error) {
        if (isTenancyError(error) && error.code === 'DECRYPTION_FAILED') return undefined
        throw error
      }
    }
    return passwords
  }

  /** Writes new passwords beside those in force. */
  async propose(tenant: Pick<Tenant, 'id' | 'roles'>, passwords: Passwords): Promise<void> {
    const sealed = await Promise.all(
      (['app', 'migrator'] as const).map(async login => {
        const password = passwords.get(login)
        return password ? await sealPassword(this.cipher, password, tenant.id, login) : null
      }),
    )
    await this.registry.query(
      'writing a password on its way',
      'UPDATE tenantctl.tenants SET db_password_next = $2, migrator_password_next = $3 WHERE uuid = $1',
      [tenant.id, ...sealed],
    )
  }

  /** What was on its way is in force. */
  async promote(id: string): Promise<void> {
    await this.registry.query(
      'putting a password in force',
      `UPDATE tenantctl.tenants SET db_password = COALESCE(db_password_next, db_password), db_password_next = NULL,
              migrator_password = COALESCE(migrator_password_next, migrator_password), migrator_password_next = NULL,
              updated_at = pg_catalog.now()
        WHERE uuid = $1`,
      [id],
    )
  }
}
