import { asTenancyError, TenancyError } from '../errors.ts'
import { notify } from '../events.ts'
import type { Client } from '../postgres/connect.ts'
import { createClosedDatabase, publishDatabase } from '../postgres/databases.ts'
import { readTakeover, type Takeover, takeOver } from '../postgres/ownership.ts'
import { grantRole, grantRoleText, revokeRole } from '../postgres/roles.ts'
import type { AdminFacts } from '../postgres/server.ts'
import { rolesOf } from '../registry/roles.ts'
import type { Tenant } from '../registry/tenant.ts'
import { admissionOf, type Place } from './handover.ts'
import type { StepContext } from './step.ts'
import { ensureTemplate, planTemplate } from './template.ts'

/** What a tenant's database was copied from. */
export interface Origin {
  /** Name of the template's database, and of its role. */
  template: string
  /** Names of the seeds whose rows came with it. */
  seeds: string[]
}

/**
 * What a new database is to be copied from, null for nothing; to be written down before it is made. A later run that
 * finds the database knows by that what is in it; one that finds none decides, and writes, anew.
 */
export async function chooseOrigin(context: StepContext): Promise<{ origin: Origin | null } | undefined> {
  // Chosen when the tenant was reserved, and written down with that.
  if (context.fresh && context.origin) return undefined
  const before = await originOf(context)
  const origin = (context.useTemplate && (await ensureTemplate(context))) || null
  context.origin = origin
  // A note that says "none" is wanted only where an earlier run may have noted one.
  return origin || before ? { origin } : undefined
}

/** Makes the closed database under its temporary name: a copy of the template that was chosen, or an empty one. */
export async function createFromOrigin(context: StepContext, temporary: string): Promise<void> {
  const { parts, admin, operationId, position } = context
  const origin = await originOf(context)
  if (origin) {
    try {
      return await createClosedDatabase(admin, temporary, origin.template)
    } catch (error) {
      const { code, sqlstate, message } = asTenancyError(error)
      // Without an answer nobody knows whether it was made: who comes next finds the copy, and must take it for one.
      if (context.signal?.aborted || sqlstate === undefined || code === 'CONNECTION_FAILED') throw error
      // It may be gone, or somebody be in it; then as without one. A failure of CREATE DATABASE leaves no database.
      plainInstead(context, message)
    }
    await parts.journal.noteOnStep(operationId, position, { origin: null })
    context.origin = null
  }
  await createClosedDatabase(admin, temporary)
}

/**
 * Gives a closed copy its name, and lets its own roles in at once: no admin has anything to do in it. They are members
 * of the template's role until they have taken it over.
 */
export async function publishCopy(
  admin: Client,
  facts: AdminFacts,
  temporary: string,
  copy: { place: Place; marker: string; origin: Origin },
): Promise<void> {
  const { place, marker, origin } = copy
  const { owner } = rolesOf({ username: origin.template, roles: place.roles })
  const { memberships, grants } = admissionOf(facts, place)
  await publishDatabase(
    admin,
    temporary,
    { name: place.database, marker, connectionLimit: -1 },
    { memberships: [...memberships, grantRoleText(facts, owner, rolesOf(place).owner)], grants },
  )
}

export function plainInstead(
  context: Pick<StepContext, 'onEvent'> & { tenant: Pick<Tenant, 'slug'> },
  reason: string,
): void {
  const message = `made without a template: ${reason}`
  notify(context.onEvent, { event: 'notice', tenant: context.tenant.slug, message, verbose: true })
}

/** What the tenant's database was copied from, by the journal. */
export async function originOf(context: StepContext): Promise<Origin | null> {
  if (context.origin === undefined) {
    const { origin } = await context.parts.journal.notesOf(context.tenant.id, 'createDatabase')
    context.origin = (origin as Origin | null | undefined) ?? null
  }
  return context.origin
}

/** Nothing in the copy belongs to the template's roles any more, and they have no member. */
export async function isTakenOver({ admin, tenant }: StepContext, { template }: Origin): Promise<boolean> {
  const from = rolesOf({ username: template, roles: tenant.roles })
  const { owned, member } = await readTakeover(admin, tenant.database, from, rolesOf(tenant))
  return !owned && !member
}

/** How a copy is taken over. */
interface TakingOver {
  /** It was published just now: all of it is still the template's, and its owner a member of that one's role. */
  isNewCopy: boolean
  /** Nothing is changed before. Default: at once. */
  begun?: Promise<void>
  /** On the login of its owner, or of who acts as that. */
  inside: (work: (client: Client) => Promise<void>) => Promise<void>
}

/**
 * Has the tenant make all of a copy its own, as a member of the template's role for as long. That role owns nothing but
 * templates, which nobody can enter, and copies that are just being made, which only their own tenants can.
 */
export async function takeOverCopy(
  { admin, adminFacts, tenant }: Pick<StepContext, 'admin' | 'adminFacts'> & { tenant: Place },
  { template }: Origin,
  { isNewCopy, begun, inside }: TakingOver,
): Promise<void> {
  const from = rolesOf({ username: template, roles: tenant.roles })
  const to = rolesOf(tenant)
  const asFound = isNewCopy ? newCopy : await readTakeover(admin, tenant.database, from, to)
  if (asFound.owned) {
    if (!asFound.member) {
      await begun
      await grantRole(admin, adminFacts, from.owner, to.owner)
    }
    await inside(async client => {
      await begun
      await takeOver(client, from, to)
    })
  }
  await begun
  if (await revokeRole(admin, from.owner, to.owner)) {
    throw new TenancyError('ISOLATION_BROKEN', `role "${to.owner}" is still a member of "${from.owner}"`, {
      hint: 'end that membership as the role that granted it, or as a superuser; then run the same command again',
    })
  }
}

const newCopy: Takeover = { owned: true, member: true }

/** The copy has every migration that there is: its template has the very name that one made now would have. */
export async function isAtHead(context: StepContext): Promise<boolean> {
  const origin = await originOf(context)
  if (!origin) return false
  const plans = await Promise.all([true, false].map(seed => planTemplate({ ...context, seed })))
  return plans.some(plan => plan?.name === origin.template)
}
