import type { FailureGroup, FleetResult, TenantOutcome } from '../../fleet/result.ts'
import { formatDuration, formatTime, plural } from './format.ts'
import { clean } from './sanitize.ts'
import type { Style } from './style.ts'
import { columns } from './table.ts'
import { hintLines, placeOf } from './text.ts'

/** Up to this many tenants each gets its line; of more only what needs attention is shown, unless --verbose. */
const listed = 30
/** Up to this many failures are told one by one. */
const inFull = 5
const groupsShown = 10
const linesShown = 100

/** A fleet's result: a line for each tenant, the failures in full, and the sum. */
export async function fleetText(result: FleetResult, style: Style): Promise<string> {
  const failed = result.tenants.filter(outcome => outcome.status === 'failed')
  const shown = result.tenants.filter(
    outcome => outcome.status !== 'failed' && (style.verbose || result.total <= listed),
  )
  const parts: string[] = []
  if (shown.length > 0) parts.push(await columns(shown.map(outcome => row(outcome, style))))
  const byLine = failed.some(outcome => outcome.line !== undefined)
  if (byLine) parts.push(await linesText(failed, style))
  else if (failed.length > 0) parts.push(failuresText(result, failed, style))
  parts.push(fleetSummary(result, style))
  return parts.join('\n\n')
}

function row(outcome: TenantOutcome, style: Style): string[] {
  const mark = outcome.status === 'skipped' ? style.dim('-') : style.good('✓')
  const words = outcome.status.replaceAll('_', ' ')
  return [
    `${mark} ${clean(outcome.tenant)}`,
    outcome.status === 'up_to_date' || outcome.status === 'skipped' ? style.dim(words) : words,
    what(outcome),
    outcome.durationMs === undefined ? '' : style.dim(formatDuration(outcome.durationMs)),
  ]
}

function what(outcome: TenantOutcome): string {
  if (outcome.reason) return clean(outcome.reason)
  const kept = outcome.retainedUntil === undefined ? '' : `kept until ${formatTime(outcome.retainedUntil)}`
  if (outcome.backup || kept) return [clean(outcome.backup ?? ''), kept].filter(Boolean).join(', ')
  const applied = outcome.applied ?? []
  if (applied.length === 0) return ''
  return clean(applied.length <= 2 ? applied.join(', ') : `${applied.length} files, last ${applied.at(-1)}`)
}

/** Of a file: what was refused and why, by line. */
async function linesText(failed: readonly TenantOutcome[], style: Style): Promise<string> {
  const shown = style.verbose ? failed : failed.slice(0, linesShown)
  const rows = shown.map(({ line, tenant, error }) => {
    return [`${style.bad('✗')} line ${line}`, style.bold(clean(tenant)), clean(error?.message ?? '')]
  })
  const more = failed.length - shown.length
  const end = more > 0 ? [style.dim(`and ${more} more, with --verbose`)] : []
  return [await columns(rows), ...end].join('\n')
}

/** Each in full while they are few; many by what they have in common. */
function failuresText({ failures = [] }: FleetResult, failed: readonly TenantOutcome[], style: Style): string {
  if (failed.length <= inFull || style.verbose) return failed.map(outcome => failure(outcome, style)).join('\n')
  const groups = failures.slice(0, groupsShown).map(group => failureGroup(group, style))
  if (failures.length > groupsShown) groups.push(style.dim(`and ${failures.length - groupsShown} other errors`))
  return groups.join('\n')
}

/** `37 tenants: 23505 duplicate key … in 20260105_x.sql, line 12`, and who they are. */
export function failureGroup(group: FailureGroup, style: Style): string {
  const { count, code, sqlstate, message, migration, line, hint, tenants } = group
  const file = migration === undefined ? '' : line === undefined ? migration : `${migration}, line ${line}`
  // The message begins with the place where there is one.
  const what = file !== '' && message.startsWith(`${file}: `) ? message.slice(file.length + 2) : message
  const place = file === '' || (what === message && message.includes(file)) ? '' : ` in ${style.accent(clean(file))}`
  const names = tenants.map(clean).join(', ') + (count > tenants.length ? ` and ${count - tenants.length} more` : '')
  const title = `${style.bad('✗')} ${style.bold(plural(count, 'tenant'))}: ${sqlstate ?? code} ${clean(what)}${place}`
  return [title, `  ${style.dim(names)}`, ...(hint === undefined ? [] : hintLines(hint, style))].join('\n')
}

/** Tenant, file and line, the server's message, what to do. */
export function failure(outcome: TenantOutcome, style: Style): string {
  const error = outcome.error ?? { code: 'INTERNAL', message: 'failed' }
  const place = placeOf(error)
  const lines = [`${style.bad('✗')} ${style.bold(clean(outcome.tenant))}${place ? `  ${style.accent(place)}` : ''}`]
  lines.push(`  ${clean(error.message)}`)
  if (style.verbose) lines.push(style.dim(`  ${error.code}${error.sqlstate ? ` (SQLSTATE ${error.sqlstate})` : ''}`))
  if (error.hint) lines.push(...hintLines(error.hint, style))
  return lines.join('\n')
}

/** `498 migrated, 1 failed, 1 skipped of 500 tenants in 12.3s`. */
function fleetSummary(result: FleetResult, style: Style): string {
  if (result.total === 0) return style.dim('No tenants matched.')
  const parts: string[] = []
  const changed = result.tenants.find(outcome => !['up_to_date', 'failed', 'skipped'].includes(outcome.status))
  if (result.succeeded > 0)
    parts.push(style.good(`${result.succeeded} ${changed?.status.replaceAll('_', ' ') ?? 'done'}`))
  if (result.upToDate > 0) parts.push(`${result.upToDate} up to date`)
  if (result.failed > 0) parts.push(style.bad(`${result.failed} failed`))
  if (result.skipped > 0) parts.push(style.warn(`${result.skipped} skipped`))
  const end = style.dim(` of ${plural(result.total, 'tenant')} in ${formatDuration(result.durationMs)}`)
  const stopped = result.stopped === undefined ? '' : `\n${style.warn('stopped')}: ${clean(result.stopped)}`
  const troubled = result.run !== undefined && (result.failed > 0 || result.stopped !== undefined)
  const run = troubled ? style.dim(`\nrun ${result.run}: \`tenantctl runs show ${result.run}\` tells more`) : ''
  return `${parts.join(', ')}${end}${stopped}${run}`
}
