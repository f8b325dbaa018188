import { asTenancyError, isTenancyError, throwIfAborted } from '../errors.ts'
import type { ServerAddress } from '../postgres/address.ts'
import { adminSettings, withAdmin, withClient } from '../postgres/connect.ts'
import { type DatabaseEntry, listDatabases } from '../postgres/inventory.ts'
import { type Attempt, attemptEscapes, enterableDatabases } from '../postgres/isolation-attempts.ts'
import { remedyText } from '../postgres/remedy-text.ts'
import { sqlstate } from '../postgres/sqlstate.ts'
import type { ProvisioningParts } from '../provisioning/parts.ts'
import { rolesOf } from '../registry/roles.ts'
import { defaultServer } from '../registry/servers.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { ExamineOptions } from './doctor.ts'
import type { CheckResult } from './finding.ts'
import { chooseSample, inParallel, type Sample } from './sample.ts'

/** Further databases that are really knocked at, for each tenant, beside those that the catalog says are open. */
const neighbours = 3
/** Of the tenant's own sessions: nobody in production waits for a test for long. */
const settings = { ...adminSettings, lock_timeout: '1s', statement_timeout: '5s' }

interface IsolationOptions extends Pick<ExamineOptions, 'server' | 'signal' | 'onEvent'> {
  sample?: Sample | undefined
}

/** What one tenant's login managed to do. */
interface Tried {
  tenant: Tenant
  attempts: number
  /** Databases of others that it could enter. */
  entered: string[]
  escapes: string[]
  unclear: string[]
}

/** Logs in as tenants and tries to get at everything that is not theirs. Every success is a problem. */
export async function checkIsolation(parts: ProvisioningParts, options: IsolationOptions): Promise<CheckResult[]> {
  const servers = options.server === undefined ? parts.servers.names : [options.server]
  const results: CheckResult[] = []
  for (const server of servers) results.push(...(await checkServer(parts, server, options)))
  return results
}

async function checkServer(
  parts: ProvisioningParts,
  server: string,
  options: IsolationOptions,
): Promise<CheckResult[]> {
  const base = { check: 'isolation', server }
  const tenants = await parts.registry.list({ server, status: 'active' })
  const sample = chooseSample(tenants, options.sample)
  if (sample.length === 0) return [{ ...base, status: 'ok', message: 'no active tenants to try it with' }]
  let databases: DatabaseEntry[]
  try {
    databases = await withAdmin(parts.servers.admin(server), { signal: options.signal }, listDatabases)
  } catch (error) {
    return [{ ...base, status: 'problem', message: asTenancyError(error).message }]
  }
  const targets = commonTargets(parts, server, databases)
  const tried: Tried[] = []
  const failed: CheckResult[] = []
  const work = async (tenant: Tenant) => {
    try {
      tried.push(await tryTenant(parts, tenant, targets, around(tenant, tenants), options.signal))
    } catch (error) {
      throwIfAborted(options.signal)
      const { message, sqlstate: state } = asTenancyError(error)
      // A tenant that has used up its connections is no hole.
      const status = state === sqlstate.tooManyConnections ? 'warning' : 'problem'
      failed.push({ ...base, status, tenant: tenant.slug, message: `nothing could be tried: ${message}` })
    }
  }
  await inParallel(sample, work, options.onEvent)
  return [...summarise(parts, { server, databases, count: tenants.length }, tried), ...failed]
}

/** The registry and the maintenance databases: no tenant's, and not for any of them. */
function commonTargets(parts: ProvisioningParts, server: string, databases: readonly DatabaseEntry[]): string[] {
  const present = new Set(databases.filter(each => each.allowConnections).map(each => each.name))
  return maintenanceDatabases(parts, server).filter(name => present.has(name))
}

function maintenanceDatabases(parts: ProvisioningParts, server: string): string[] {
  return [...new Set([parts.servers.admin(server).database, 'postgres', 'template1'])]
}

/** Those that come after it, in a ring: over a whole fleet everybody is knocked at. */
function around(tenant: Tenant, all: readonly Tenant[]): Tenant[] {
  const index = all.findIndex(each => each.id === tenant.id)
  const count = Math.min(neighbours, all.length - 1)
  return Array.from({ length: count }, (_, step) => all[(index + 1 + step) % all.length] as Tenant)
}

async function tryTenant(
  parts: ProvisioningParts,
  tenant: Tenant,
  targets: readonly string[],
  neighbours: readonly Tenant[],
  signal: AbortSignal | undefined,
): Promise<Tried> {
  const address = parts.servers.tenant(tenant, await parts.registry.credentials(tenant, 'app'))
  const [neighbour] = neighbours
  const { escapes, open } = await withClient(address, { settings, signal, doing: 'logging in' }, async client => ({
    escapes: await attemptEscapes(client, {
      database: tenant.database,
      role: rolesOf(tenant).app,
      admin: parts.servers.admin(tenant.server).user,
      neighbourDatabase: neighbour?.database,
      neighbourRole: neighbour?.username,
    }),
    open: await enterableDatabases(client),
  }))
  const doors = [...new Set([...targets, ...neighbours.map(each => each.database), ...open])]
  const entered: string[] = []
  const unclear = escapes.filter(isUnclear).map(each => each.message ?? each.what)
  for (const database of doors) {
    const knocked = await knock({ ...address, database }, signal)
    if (knocked === 'entered') entered.push(database)
    else if (knocked !== 'refused') unclear.push(`enter "${database}": ${knocked.reason}`)
  }
  const succeeded = escapes.filter(each => each.outcome === 'succeeded').map(each => each.what)
  return { tenant, attempts: escapes.length + doors.length, entered, escapes: succeeded, unclear }
}

/** A login that is refused is refused for certain; anything else may be the network. */
async function knock(
  address: ServerAddress,
  signal: AbortSignal | undefined,
): Promise<'entered' | 'refused' | { reason: string }> {
  try {
    await withClient(address, { settings, signal }, async () => undefined)
    return 'entered'
  } catch (error) {
    const refused = ['AUTHENTICATION_FAILED', 'PRIVILEGES_INSUFFICIENT']
    if (isTenancyError(error)) {
      // Gone, or closed, since it was listed.
      if (error.sqlstate === sqlstate.unknownDatabase || error.sqlstate === '55000') return 'refused'
      if (refused.includes(error.code)) return 'refused'
    }
    return { reason: asTenancyError(error).message }
  }
}

interface Fleet {
  server: string
  databases: readonly DatabaseEntry[]
  /** Active tenants of the server, tried or not. */
  count: number
}

function summarise(parts: ProvisioningParts, fleet: Fleet, tried: readonly Tried[]): CheckResult[] {
  const base = { check: 'isolation', server: fleet.server }
  const results: CheckResult[] = []
  const doors = new Map<string, Tried[]>()
  for (const each of tried) for (const name of each.entered) doors.set(name, [...(doors.get(name) ?? []), each])
  for (const [database, by] of doors) results.push({ ...base, ...openDoor(parts, fleet, database, by, tried.length) })
  for (const { tenant, escapes, unclear } of tried) {
    if (escapes.length > 0) {
      results.push({ ...base, status: 'problem', tenant: tenant.slug, message: `it can ${escapes.join('; it can ')}` })
    }
    if (unclear.length > 0) {
      const message = `not decided, since it failed for another reason than a lack of rights: ${unclear.join('; ')}`
      results.push({ ...base, status: 'warning', tenant: tenant.slug, message })
    }
  }
  if (tried.length === 0 || results.some(({ status }) => status === 'problem')) return results
  const attempts = tried.reduce((sum, each) => sum + each.attempts, 0)
  const whom = tried.length === fleet.count ? `all ${fleet.count} tenants` : `${tried.length} of ${fleet.count} tenants`
  const refused = results.length === 0 ? 'all were refused' : "none got at what is tenantctl's"
  return [{ ...base, status: 'ok', message: `logged in as ${whom}, ${attempts} attempts: ${refused}` }, ...results]
}

function openDoor(
  parts: ProvisioningParts,
  { server, databases }: Fleet,
  database: string,
  by: readonly Tried[],
  tried: number,
): Omit<CheckResult, 'check' | 'server'> {
  const slugs = by.slice(0, 5).map(each => each.tenant.slug)
  const some = by.length > slugs.length ? `${slugs.join(', ')} and ${by.length - slugs.length} more` : slugs.join(', ')
  const who = by.length === tried && tried > 1 ? `each of the ${tried} tenants that were tried` : some
  if (maintenanceDatabases(parts, server).includes(database)) {
    const isRegistry = server === defaultServer && database === parts.servers.admin(server).database
    const message = `${who} can enter ${isRegistry ? 'the registry database ' : ''}"${database}"`
    return { status: 'problem', message, fix: 'tenantctl doctor --fix' }
  }
  if (databases.find(each => each.name === database)?.marker?.startsWith('tenantctl ')) {
    const message = `${who} can enter "${database}", a database of another tenant`
    return { status: 'problem', message, fix: 'tenantctl doctor --fix' }
  }
  // What somebody else keeps on this server, and whom he lets in there, is his to decide.
  const message = `${who} can enter "${database}", which is not tenantctl's`
  return { status: 'warning', message, fix: remedyText.revokeDatabase(database, 'PUBLIC') }
}

function isUnclear({ outcome }: Attempt): boolean {
  return outcome === 'unclear'
}
