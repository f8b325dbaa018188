import { TenancyError } from '../errors.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { FleetOptions } from './fleet.ts'

/** Of a command that somebody has confirmed for a number of tenants, or for these. */
export interface ConfirmedOptions extends FleetOptions {
  /** How many tenants were confirmed, or which, by their ids: others are `COUNT_MISMATCH`. */
  expect?: number | readonly string[] | undefined
}

/** The selection may have come to match others since somebody agreed to it: also as many others. */
export function refuseOthers(
  expected: ConfirmedOptions['expect'],
  tenants: readonly Pick<Tenant, 'id' | 'slug'>[],
  left: string,
): void {
  if (expected === undefined) return
  const hint = `${left}: look at the selection again`
  const count = typeof expected === 'number' ? expected : expected.length
  if (count !== tenants.length) {
    throw new TenancyError('COUNT_MISMATCH', `${tenants.length} tenants match, but ${count} were confirmed`, { hint })
  }
  if (typeof expected === 'number') return
  const other = tenants.find(({ id }) => !expected.includes(id))
  if (other) {
    throw new TenancyError('COUNT_MISMATCH', `tenant "${other.slug}" matches now, but was not confirmed`, { hint })
  }
}
