import { withDatabaseLock } from '../migrations/database-lock.ts'
import { bindKnex } from '../migrations/knex-binding.ts'
import { migrateDatabase } from '../migrations/migrate.ts'
import type { Seed } from '../migrations/source.ts'
import { versionOf } from '../migrations/version.ts'
import { historySchema } from '../registry/roles.ts'
import { seedDatabase, wasCommitted } from '../seeds.ts'
import { insideAsTenant } from './as-tenant.ts'
import { isAtHead, originOf } from './copy.ts'
import { askHook } from './hooks.ts'
import type { ProvisioningStep, StepContext } from './step.ts'

/** As the tenant, over its own login: proves at the same time that it can log in. */
const migrate: ProvisioningStep = {
  name: 'migrate',
  /** What came with a copy is recorded with whatever is recorded next. */
  async isDone(context) {
    if (!(await isAtHead(context))) return false
    context.applied = await context.parts.migrations()
    return true
  },
  async apply(context) {
    const { parts, tenant, signal, onEvent } = context
    const migrations = await parts.migrations()
    await insideAsTenant(context, async client => {
      const { statementTimeoutMs } = parts.config.migrations
      const result = await migrateDatabase(client, migrations, {
        tenant: tenant.slug,
        schema: historySchema(tenant),
        statementTimeoutMs,
        waitMs: 30_000,
        signal,
        onEvent,
      })
      await parts.registry.setSchemaVersion(tenant.id, versionOf(result.applied), undefined)
      await parts.checksums.record(migrations.filter(each => result.applied.includes(each.name)))
    })
  },
  undo: async () => undefined,
}

/**
 * Seeds run once each, also when a crash comes between a seed's COMMIT and our learning of it: its transaction id is
 * in the journal before it commits, and the server is asked what became of it.
 */
const seed: ProvisioningStep = {
  name: 'seed',
  isDone: async context => !context.seed || (await seedsToRun(context)).length === 0,
  async apply(context) {
    const { parts, tenant, operationId, position, signal, onEvent } = context
    await recordApplied(context)
    const seeds = await seedsToRun(context)
    const begun = await parts.journal.notesOf(tenant.id, 'seed')
    await insideAsTenant(context, client =>
      withDatabaseLock(client, { tenant: tenant.slug, waitMs: 30_000, signal, onEvent }, async () => {
        const done = new Set<string>()
        for (const [name, id] of Object.entries(begun)) {
          if ((await wasCommitted(client, String(id))) !== false) done.add(name)
        }
        await seedDatabase(
          client,
          seeds.filter(each => !done.has(each.name)),
          {
            tenant: tenant.slug,
            statementTimeoutMs: parts.config.migrations.statementTimeoutMs,
            beforeCommit: ({ name }, id) => parts.journal.noteOnStep(operationId, position, { [name]: id }),
            signal,
            onEvent,
          },
        )
      }),
    )
  },
  undo: async () => undefined,
}

async function seedsToRun(context: StepContext): Promise<Seed[]> {
  const copied = (await originOf(context))?.seeds ?? []
  return (await context.parts.seeds()).filter(each => !copied.includes(each.name))
}

/** Before code of others is run, which may fail or ask. */
async function recordApplied(context: StepContext): Promise<void> {
  const { parts, tenant, applied } = context
  if (!applied) return
  await parts.registry.setSchemaVersion(tenant.id, versionOf(applied.map(each => each.name)), undefined)
  await parts.checksums.record(applied)
  context.applied = undefined
}

/** Its database is complete, and nobody is served from it yet. */
const afterCreate: ProvisioningStep = {
  name: 'afterCreate',
  isDone: async ({ parts }) => parts.config.hooks.afterCreate === undefined,
  async apply(context) {
    const { parts, tenant } = context
    await recordApplied(context)
    const tenantNow = await parts.registry.get(tenant.id)
    await insideAsTenant(context, async client => {
      const knex = await bindKnex(client)
      await askHook('afterCreate', tenant.slug, () => parts.config.hooks.afterCreate?.(tenantNow, knex))
    })
  },
  undo: async () => undefined,
}

/** What goes into a tenant's database once it is its own. */
export const contentSteps: readonly ProvisioningStep[] = [migrate, seed, afterCreate]
