import type { PendingPlan } from '../../index.ts'
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

/** What `migrate --dry-run` would do: the tenants by what they lack, and the SQL of each file once. */
export function planText(plans: readonly PendingPlan[], style: Style): string {
  const waiting = plans.filter(plan => plan.pending.length > 0)
  const sum = style.dim(`${waiting.length} of ${plural(plans.length, 'tenant')} would be migrated; nothing was changed`)
  if (plans.length === 0) return style.dim('Nothing is pending.')
  if (waiting.length === 0) return sum
  const tenants = waiting.length <= named ? waiting.map(plan => tenantText(plan, style)) : groupTexts(waiting, style)
  // A fleet of 500 needs the SQL of a file once, not 500 times.
  const statements = new Map(waiting.flatMap(plan => plan.pending.map(({ name, sql }) => [name, sql] as const)))
  const sources = [...statements].map(([name, sql]) => {
    const body = sql === null ? style.dim('(code: what it does is known only when it runs)') : cleanLines(sql.trim())
    return `${style.accent(`-- ${clean(name)}`)}\n${body}`
  })
  return [tenants.join('\n'), ...sources, sum].join('\n\n')
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
