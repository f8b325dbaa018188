import type { Knex } from 'knex'
import type { Labels, Tenant } from '../registry/tenant.ts'

/**
 * Functions of one's own that are asked, and waited for, at certain points of a tenant's life; unlike a listener of
 * events, a hook that throws has consequences: the operation fails with `HOOK_FAILED`.
 */
export interface Hooks {
  /** Before anything of a new tenant is made. Throwing refuses it. */
  beforeCreate?: ((tenant: { slug: string; name: string; server: string; labels: Labels }) => unknown) | undefined
  /**
   * A new tenant's database is complete, but the tenant is not active yet. `knex` is the tenant's own login. Throwing
   * leaves it half-made: whoever finishes it calls the hook again, as after a crash. At least once.
   */
  afterCreate?: ((tenant: Tenant, knex: Knex) => unknown) | undefined
  /**
   * `migrate` has applied these migrations to a tenant, and that is recorded. Throwing makes the tenant one of the
   * failed ones of the run. At most once: a later run that has nothing to apply does not call it.
   */
  afterMigrate?: ((tenant: Tenant, applied: readonly string[]) => unknown) | undefined
  /** Before anything of a tenant is removed, under its lock. Throwing refuses the drop. Again when a drop is taken up. */
  beforeDrop?: ((tenant: Tenant) => unknown) | undefined
}

export const hookNames = ['beforeCreate', 'afterCreate', 'afterMigrate', 'beforeDrop'] as const
