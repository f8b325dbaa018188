import { asTenancyError, TenancyError, throwIfAborted } from '../errors.ts'
import type { Listener } from '../events.ts'
import { type Leftover, removeLeftover } from '../provisioning/leftovers.ts'
import type { ProvisioningParts } from '../provisioning/parts.ts'
import type { CheckResult, DoctorResult, Finding } from './finding.ts'
import { checkHistories } from './history-checks.ts'
import { checkForeign, checkLeftovers, checkTombstones } from './leftover-checks.ts'
import { checkMaintenanceDatabases } from './maintenance-checks.ts'
import { checkConfiguredServers, checkOperations, checkPasswords } from './registry-checks.ts'
import type { Sample } from './sample.ts'
import { checkServer } from './server-checks.ts'
import { takeSnapshot } from './snapshot.ts'
import { checkStock } from './stock-checks.ts'
import { checkOldTemplates, checkTemplates } from './template-checks.ts'
import { checkTenants } from './tenant-checks.ts'

export interface ExamineOptions {
  /** One server alone. Default: all. */
  server?: string | undefined
  /** Puts right what can be put right without losing data. Default: false. */
  fix?: boolean | undefined
  /** Names of orphaned databases that `fix` may drop with what is in them. Default: none. */
  dropOrphans?: readonly string[] | undefined
  /** How many tenants of each server are logged in as, chosen at random; `'all'` of them if you like. Default: 20. */
  sample?: Sample | undefined
  signal?: AbortSignal | undefined
  onEvent?: Listener | undefined
}

/** Ids of tenants that wait for a worker to make them. */
type Queued = () => Promise<ReadonlySet<string>>

/**
 * Compares every server with the registry, from its maintenance database, and what is applied over the logins of some
 * tenants. Throws `SERVER_NOT_FOUND`, and `USAGE` for a name in `dropOrphans` that is no orphan, before anything is
 * changed.
 */
export async function examine(
  parts: ProvisioningParts,
  queued: Queued,
  options: ExamineOptions,
): Promise<DoctorResult> {
  const names = options.server === undefined ? parts.servers.names : [options.server]
  for (const name of names) parts.servers.admin(name)
  const first = await look(parts, names, queued, options)
  // Whatever looked broken only because somebody was just changing it does not look so again.
  const findings = first.every(isOk) ? first : confirm(first, await look(parts, names, queued, options))
  const unreachable = findings.filter(({ check }) => check === 'reachable').map(({ server }) => server)
  const reached = names.filter(name => !unreachable.includes(name))
  findings.push(...(await checkHistories(parts, reached, options)))
  const orphans = chooseOrphans(options.dropOrphans ?? [], findings)
  const checks: CheckResult[] = []
  for (const finding of findings) {
    throwIfAborted(options.signal)
    const mend = options.fix ? mendOf(parts, finding, orphans, options) : undefined
    checks.push(inOrder(mend ? await put(finding, mend) : finding))
  }
  return { ok: isHealthy(checks), checks }
}

/** No problem is left. */
export function isHealthy(checks: readonly CheckResult[]): boolean {
  return !checks.some(({ status, fixed }) => status === 'problem' && !fixed)
}

async function look(
  parts: ProvisioningParts,
  names: readonly string[],
  queued: Queued,
  options: ExamineOptions,
): Promise<Finding[]> {
  const snapshot = await takeSnapshot(parts, names, options.signal)
  const { tenants } = snapshot
  const mine = options.server === undefined ? tenants : tenants.filter(tenant => tenant.server === options.server)
  const findings: Finding[] = [
    ...(await checkPasswords(parts, mine)),
    ...checkConfiguredServers(parts, mine),
    ...snapshot.unreachable.map(({ server, error }) => ({
      check: 'reachable',
      status: 'problem' as const,
      server,
      message: error.message,
      ...(error.hint ? { fix: error.hint } : {}),
    })),
  ]
  const stockOf = (server: string) => snapshot.stock.filter(each => each.server === server)
  for (const server of snapshot.servers) {
    findings.push(
      ...checkServer(server),
      ...checkMaintenanceDatabases(server),
      ...checkTenants(parts, server, tenants),
      ...(await checkLeftovers(parts, server, tenants)),
      ...checkTemplates(parts, server),
      ...(await checkOldTemplates(parts, server)),
      ...(await checkStock(parts, server, stockOf(server.server))),
      ...checkForeign(parts, server, tenants, stockOf(server.server)),
      ...checkTombstones(server, tenants),
    )
  }
  const reserved = tenants.some(({ status }) => status === 'provisioning')
  findings.push(...checkOperations(parts, snapshot, reserved ? await queued() : new Set()))
  return findings
}

function isOk({ status }: CheckResult): boolean {
  return status === 'ok'
}

/** What is wrong both times, and what is well the second time. */
function confirm(first: readonly Finding[], second: readonly Finding[]): Finding[] {
  const key = ({ check, server, tenant, fix }: Finding) => [check, server, tenant, fix].join('\0')
  const before = new Set(first.map(key))
  return second.filter(each => isOk(each) || before.has(key(each)))
}

/** What is well needs nothing; an orphan goes when it was named, and its role with it. */
function mendOf(
  parts: ProvisioningParts,
  { status, leftover, mend }: Finding,
  orphans: readonly Leftover[],
  options: ExamineOptions,
): (() => Promise<void>) | undefined {
  if (status === 'ok') return undefined
  const named = orphans.some(each => each.tenantId === leftover?.tenantId && each.server === leftover.server)
  return leftover && named ? () => drop(parts, leftover, options) : mend
}

async function put(result: CheckResult, mend: () => Promise<void>): Promise<CheckResult> {
  try {
    await mend()
    return { ...result, fixed: true }
  } catch (error) {
    const { message, hint } = asTenancyError(error)
    return { ...result, message: `${result.message} (could not be fixed: ${message})`, ...(hint ? { fix: hint } : {}) }
  }
}

/** Keys in the order in which one reads them. */
function inOrder({ check, status, server, tenant, message, fix, fixed }: CheckResult): CheckResult {
  return {
    check,
    status,
    ...(server === undefined ? {} : { server }),
    ...(tenant === undefined ? {} : { tenant }),
    message,
    ...(fix === undefined ? {} : { fix }),
    ...(fixed === undefined ? {} : { fixed }),
  }
}

function chooseOrphans(names: readonly string[], findings: readonly Finding[]): Leftover[] {
  const orphans = findings.flatMap(({ leftover }) => (leftover?.kind === 'database' ? [leftover] : []))
  return names.map(name => {
    const [orphan, another] = orphans.filter(each => each.name === name)
    if (orphan && !another) return orphan
    if (orphan) {
      throw new TenancyError('USAGE', `there are databases "${name}" on several servers`, {
        hint: 'nothing was changed; say which with --server',
      })
    }
    const known = orphans.map(each => each.name).join(', ') || 'none'
    throw new TenancyError('USAGE', `database "${name}" is no orphan`, {
      hint: `nothing was changed; orphans are: ${known}`,
    })
  })
}

async function drop(parts: ProvisioningParts, orphan: Leftover, { signal, onEvent }: ExamineOptions): Promise<void> {
  const removed = await removeLeftover(parts, orphan, { signal, onEvent, evenData: true })
  if (!removed) throw new TenancyError('TENANT_MISMATCH', `${orphan.kind} "${orphan.name}" is in use again`)
}
