import type { FleetSummary } from '../../index.ts'
import { failureGroup } from './fleet.ts'
import { formatTime } from './format.ts'
import { clean } from './sanitize.ts'
import type { Style } from './style.ts'
import { columns } from './table.ts'
import { statusText } from './tenant.ts'

/** Of a fleet that has been left behind for years not every version is worth a line. */
const listed = 15

/** A fleet on one screen. */
export async function summaryText(summary: FleetSummary, style: Style): Promise<string> {
  const count = (number: number) => number.toLocaleString('en')
  if (summary.total === 0) return style.dim('No tenants matched.')
  const states = Object.entries(summary.byStatus).map(
    ([status, tenants]) => `${count(tenants)} ${statusText(status as keyof FleetSummary['byStatus'], style)}`,
  )
  const behind = summary.behind > 0 ? style.warn(`${count(summary.behind)} behind`) : 'none behind'
  const total = `${count(summary.total)} ${summary.total === 1 ? 'tenant' : 'tenants'}`
  const title = `${style.bold(total)}: ${states.join(', ')}`
  const target = `${count(summary.upToDate)} up to date with ${summary.target === null ? 'no migrations' : clean(summary.target)}, ${behind}`
  const rows = summary.versions
    .slice(0, listed)
    .map(({ version, tenants, pending }) => [
      count(tenants),
      version === null ? style.dim('empty schema') : clean(version),
      pendingText(version, pending, style),
    ])
  const more = summary.versions.length - rows.length
  const parts = [`${title}\n${target}`, await columns(rows, { right: [0], indent: '  ' })]
  if (more > 0) parts.push(style.dim(`  and ${more} more ${more === 1 ? 'version' : 'versions'}`))
  for (const group of summary.failures) {
    const when = style.dim(`  since ${formatTime(group.since)}, last in ${group.run}`)
    parts.push(`${failureGroup(group, style)}\n${when}`)
  }
  return parts.join('\n\n')
}

function pendingText(version: string | null, pending: number | null, style: Style): string {
  if (pending === 0) return style.good('up to date')
  if (pending !== null) return `${pending} pending`
  // One that is being made, or was not finished, has none that is recorded.
  return style.warn(version === null ? 'not known' : 'not in the order of the files')
}
