import { markerOf } from '../provisioning/marker.ts'
import type { ProvisioningParts } from '../provisioning/parts.ts'
import { readyPlace, removeReady } from '../provisioning/ready.ts'
import { planTemplate } from '../provisioning/template.ts'
import type { ReadyTenant } from '../registry/ready-tenants.ts'
import { roleNames } from '../registry/roles.ts'
import type { Finding } from './finding.ts'
import { isLocked, type ServerSnapshot } from './snapshot.ts'

/** Ready tenants: whether each is as it was put into the stock, and whether there are as many as there should be. */
export async function checkStock(
  parts: ProvisioningParts,
  server: ServerSnapshot,
  before: readonly ReadyTenant[],
): Promise<Finding[]> {
  const now = new Map((await parts.ready.list(server.server)).map(each => [each.id, each]))
  // Those that nobody has made, taken or removed while the server was read.
  const still = before.filter(({ id, status }) => now.get(id)?.status === status && !isLocked(parts, server, id))
  const mend = (ready: ReadyTenant) => async () => void (await removeReady(parts, ready, {}))
  const base = { check: 'stock', status: 'problem' as const, server: server.server, fix: 'tenantctl pool fill' }
  const findings: Finding[] = still.flatMap(ready => {
    const { database } = readyPlace(ready)
    // What was taken is told with the tenant that it was taken for.
    if (ready.status === 'taken') return []
    if (ready.status !== 'ready') {
      const state = ready.status === 'filling' ? 'was never finished' : 'was to be removed, and is still there'
      const message = `ready tenant "${database}" ${state}`
      return [{ ...base, message, fix: 'tenantctl repair', mend: mend(ready) }]
    }
    const wrong = differences(parts, server, ready)
    if (wrong.length === 0) return []
    return [{ ...base, message: `ready tenant "${database}": ${wrong.join(', ')}`, mend: mend(ready) }]
  })
  return [...findings, ...(await checkSize(parts, server, [...now.values()]))]
}

function differences(parts: ProvisioningParts, server: ServerSnapshot, ready: ReadyTenant): string[] {
  const place = readyPlace(ready)
  const marker = markerOf(parts.registryId, ready.id)
  const database = server.databases.get(place.database)
  const wrong: string[] = []
  if (database?.marker !== marker) wrong.push(`the database ${database ? 'does not carry its marker' : 'is missing'}`)
  else if (database.invalid) wrong.push('the removal of the database was cut off')
  else if (database.allowConnections) wrong.push('the database takes connections')
  for (const name of roleNames(place)) {
    const role = server.roles.get(name)
    if (role?.marker !== marker) wrong.push(`role "${name}" ${role ? 'does not carry its marker' : 'is missing'}`)
    else if (role.canLogin) wrong.push(`role "${name}" may log in`)
  }
  return wrong
}

async function checkSize(
  parts: ProvisioningParts,
  { server, facts }: ServerSnapshot,
  stock: readonly ReadyTenant[],
): Promise<Finding[]> {
  const { size } = parts.config.pool
  const ready = stock.filter(({ status }) => status === 'ready')
  if (size === 0 && ready.length === 0) return []
  // Files that cannot be read are told by those who need them.
  const plan = await planTemplate({
    ...{ parts, adminFacts: facts, seed: true, tenant: { roles: parts.config.roles } },
  }).catch(() => undefined)
  const fitting = ready.filter(({ template }) => template === plan?.name).length
  const stale = ready.length - fitting
  const message = `${fitting} of ${size} tenants are ready${stale > 0 ? `, ${stale} more are copies of an older template` : ''}`
  if (fitting === size && stale === 0) return [{ check: 'stock', status: 'ok', server, message }]
  return [{ check: 'stock', status: 'warning', server, message, fix: 'tenantctl pool fill' }]
}
