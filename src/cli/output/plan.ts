import type { LintFinding, PendingPlan, Tenancy } from '../../index.ts'
import { plural } from './format.ts'
import { clean, cleanLines } from './sanitize.ts'
import type { Style } from './style.ts'

/** Tenants at one version that lack the same. */
export interface PlanGroup {
  from: string | null
  /** Names. */
  pending: string[]
  tenants: number
}

/** Up to this many tenants are told by name. */
const named = 10

export function groupPlans(plans: readonly PendingPlan[]): PlanGroup[] {
  const groups = new Map<string, PlanGroup>()
  for (const { from, pending } of plans) {
    const names = pending.map(({ name }) => name)
    const key = JSON.stringify([from, names])
    const group = groups.get(key) ?? { from, pending: names, tenants: 0 }
    group.tenants += 1
    groups.set(key, group)
  }
  return [...groups.values()].sort((a, b) => b.tenants - a.tenants)
}

/** What is dangerous in the files that somebody lacks. */
export async function lintPending(
  migrations: Tenancy['migrations'],
  plans: readonly { pending: readonly { name: string }[] }[],
): Promise<LintFinding[]> {
  const pending = new Set(plans.flatMap(plan => plan.pending.map(({ name }) => name)))
  if (pending.size === 0) return []
  return (await migrations.lint({ all: true })).filter(({ migration }) => pending.has(migration.replace(/\.sql$/, '')))
}

interface PlanView {
  tenants: readonly PendingPlan[]
  findings: readonly LintFinding[]
  /** Tenants that were looked at, where that is known. */
  total?: number
}

/**
 * What `migrate --dry-run` would do: the tenants by what they lack, and the SQL of each file once, with what is
 * dangerous in it.
 */
export function planText({ tenants: plans, findings, total }: PlanView, style: Style): string {
  const waiting = plans.filter(plan => plan.pending.length > 0)
  const count =
    total === undefined ? plural(waiting.length, 'tenant') : `${waiting.length} of ${plural(total, 'tenant')}`
  const sum = style.dim(`${count} would be migrated; nothing was changed`)
  if (plans.length === 0) return style.dim('Nothing is pending.')
  if (waiting.length === 0) return sum
  const tenants = waiting.length <= named ? waiting.map(plan => tenantText(plan, style)) : groupTexts(waiting, style)
  // A fleet of 500 needs the SQL of a file once, not 500 times.
  const statements = new Map(waiting.flatMap(plan => plan.pending.map(({ name, sql }) => [name, sql] as const)))
  const sources = [...statements].map(([name, sql]) => {
    const body = sql === null ? style.dim('(code: what it does is known only when it runs)') : cleanLines(sql.trim())
    const dangers = findings.filter(({ migration }) => migration.replace(/\.sql$/, '') === name)
    return [style.accent(`-- ${clean(name)}`), body, ...dangers.map(each => danger(each, style))].join('\n')
  })
  return [tenants.join('\n'), ...sources, sum].join('\n\n')
}

function danger({ line, message, rule, safer }: LintFinding, style: Style): string {
  const title = `${style.warn('!')} line ${line}: ${clean(message)}  ${style.dim(rule)}`
  return `${title}\n    ${clean(safer)}`
}

function tenantText({ tenant, from, pending }: PendingPlan, style: Style): string {
  return [`${style.bold(clean(tenant))}  ${style.dim(`from ${version(from)}`)}`, ...files(pending)].join('\n')
}

/** `4,980 tenants at 20260103_add_labels: 2 pending`, with the names of these. */
function groupTexts(waiting: readonly PendingPlan[], style: Style): string[] {
  return groupPlans(waiting).map(({ from, pending, tenants }) => {
    const title = `${style.bold(`${tenants.toLocaleString('en')} ${tenants === 1 ? 'tenant' : 'tenants'}`)} at ${version(from)}`
    return [`${title}: ${pending.length} pending`, ...files(pending.map(name => ({ name })))].join('\n')
  })
}

function files(pending: readonly { name: string }[]): string[] {
  return pending.map(({ name }) => `    ${clean(name)}`)
}

function version(name: string | null): string {
  return name === null ? 'an empty schema' : clean(name)
}
