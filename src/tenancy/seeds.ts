import { notify } from '../events.ts'
import type { FleetResult } from '../fleet/result.ts'
import type { Selection } from '../fleet/selection.ts'
import { withDatabaseLock } from '../migrations/database-lock.ts'
import type { Client } from '../postgres/connect.ts'
import { findSeed, seedDatabase, wasCommitted } from '../seeds.ts'
import { asTenant, databaseWaitMs, type FleetOptions, journaled, runOverTenants, surveyTenants } from './fleet.ts'
import { visitor } from './migrations.ts'
import type { LazyParts } from './parts.ts'

/** Which seed files run, and how. */
export interface SeedOptions extends FleetOptions {
  /** One seed file alone, with or without extension. Default: all, in order. */
  only?: string | undefined
}

/** The tenants' seeds. */
export class TenantSeeds {
  /** @internal */
  constructor(private readonly parts: LazyParts) {}

  /** Runs the seed files in order, each in a transaction of its own per tenant; every time, as the knex CLI does. */
  async run(selection: Selection, options: SeedOptions = {}): Promise<FleetResult> {
    const parts = await this.parts.get()
    const all = await parts.seeds()
    const seeds = options.only === undefined ? all : [findSeed(all, options.only)]
    const fleet = await surveyTenants(parts, selection)
    const { onEvent = parts.config.onEvent } = options
    const { statementTimeoutMs } = parts.config.migrations
    const doubtful = new Map<string, Doubtful>()
    const work = visitor(fleet, selection, async (tenant, { signal, run, notes }) => {
      if (seeds.length === 0) return { status: 'up_to_date', applied: [] }
      const lock = { tenant: tenant.slug, waitMs: databaseWaitMs, signal, onEvent }
      await journaled(parts, 'seed', tenant, run, begin =>
        asTenant(parts, tenant, { signal }, client =>
          withDatabaseLock(client, lock, async () => {
            // Of an earlier attempt: what has run must not run once more.
            const applied = await settleDoubt(client, doubtful.get(tenant.id), notes.applied ?? [])
            notes.applied = applied
            const left = seeds.filter(seed => !applied.includes(seed.name))
            const operationId = await begin({ seeds: left.map(seed => seed.name) })
            await seedDatabase(client, left, {
              ...{ tenant: tenant.slug, statementTimeoutMs, signal },
              beforeCommit: async ({ name }, transaction) => void doubtful.set(tenant.id, { name, transaction }),
              onEvent: event => {
                if (event.event === 'seed_finished') applied.push(event.seed)
                notify(onEvent, event)
              },
            })
            await parts.journal.finish(operationId)
          }),
        ),
      )
      return { status: 'seeded', applied: notes.applied ?? [] }
    })
    const parameters = { selection, only: options.only }
    return runOverTenants(parts, 'seed', fleet.items, options, work, { parameters })
  }
}

/** A seed whose transaction was about to be committed when it was last heard of. */
interface Doubtful {
  name: string
  transaction: string
}

/** The seeds that have run, with one whose COMMIT was sent but not answered, if it was carried out. */
async function settleDoubt(client: Client, doubtful: Doubtful | undefined, applied: string[]): Promise<string[]> {
  if (!doubtful || applied.includes(doubtful.name)) return applied
  return (await wasCommitted(client, doubtful.transaction)) === false ? applied : [...applied, doubtful.name]
}
