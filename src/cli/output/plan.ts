import type { PendingPlan } from '../../index.ts'
import { plural } from './format.ts'
import { clean, cleanLines } from './sanitize.ts'
import type { Style } from './style.ts'

/** What `migrate --dry-run` would do: the tenants by what they lack, and the SQL of each file once. */
export function planText(plans: readonly PendingPlan[], style: Style): string {
  const waiting = plans.filter(plan => plan.pending.length > 0)
  const sum = style.dim(`${waiting.length} of ${plural(plans.length, 'tenant')} would be migrated; nothing was changed`)
  if (waiting.length === 0) return sum

  const tenants = waiting.map(plan => {
    const from = plan.from === null ? 'an empty schema' : clean(plan.from)
    const files = plan.pending.map(({ name }) => `    ${clean(name)}`)
    return [`${style.bold(clean(plan.tenant))}  ${style.dim(`from ${from}`)}`, ...files].join('\n')
  })
  // A fleet of 500 needs the SQL of a file once, not 500 times.
  const statements = new Map(waiting.flatMap(plan => plan.pending.map(({ name, sql }) => [name, sql] as const)))
  const sources = [...statements].map(([name, sql]) => {
    const body = sql === null ? style.dim('(code: what it does is known only when it runs)') : cleanLines(sql.trim())
    return `${style.accent(`-- ${clean(name)}`)}\n${body}`
  })
  return [tenants.join('\n'), ...sources, sum].join('\n\n')
}
