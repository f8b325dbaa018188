import { TenancyError } from '../errors.ts'
import type { FleetResult } from '../fleet/result.ts'
import type { Selection } from '../fleet/selection.ts'
import { withDatabaseLock } from '../migrations/migrate.ts'
import { findSeed, seedDatabase } from '../seeds.ts'
import { asTenant, type FleetOptions, journaled, runOverTenants, unlessActive } from './fleet.ts'
import type { LazyParts } from './parts.ts'

export interface SeedOptions extends FleetOptions {
  /** One seed file alone, with or without extension. Default: all, in order. */
  only?: string | undefined
}

const waitMs = 300_000

/** The tenants' seeds. */
export class TenantSeeds {
  constructor(private readonly parts: LazyParts) {}

  /** Runs the seed files in order, each in a transaction of its own per tenant; every time, as the knex CLI does. */
  async run(selection: Selection, options: SeedOptions = {}): Promise<FleetResult> {
    const parts = await this.parts.get()
    const all = await parts.seeds()
    const seeds = options.only === undefined ? all : [findSeed(all, options.only)]
    const tenants = await parts.registry.select(selection)
    const { signal, onEvent = parts.config.onEvent } = options
    return runOverTenants(parts, 'seed', tenants, options, async tenant => {
      const skipped = unlessActive(tenant, selection)
      if (skipped) return skipped
      if (seeds.length === 0) return { status: 'up_to_date', applied: [] }
      const applied = await journaled(parts, 'seed', tenant, begin =>
        asTenant(parts, tenant, options, client =>
          withDatabaseLock(client, { tenant: tenant.slug, waitMs, signal, onEvent }, async () => {
            const operationId = await begin({ seeds: seeds.map(seed => seed.name) })
            const { statementTimeoutMs } = parts.config.migrations
            const ran = await seedDatabase(client, seeds, { tenant: tenant.slug, statementTimeoutMs, signal, onEvent })
            await parts.journal.finish(operationId)
            return ran
          }),
        ),
      ).catch(thrown => {
        throw signal?.aborted ? new TenancyError('ABORTED', 'interrupted', { cause: thrown }) : thrown
      })
      return { status: 'seeded', applied }
    })
  }
}
