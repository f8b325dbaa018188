import type { FleetResult, TenantOutcome } from '../../fleet/result.ts'
import { formatDuration, formatTime, plural } from './format.ts'
import { clean } from './sanitize.ts'
import type { Style } from './style.ts'
import { columns } from './table.ts'
import { hintLines, placeOf } from './text.ts'

/** Up to this many tenants each gets its line; of more only what needs attention is shown, unless --verbose. */
const listed = 30

/** A fleet's result: a line for each tenant, the failures in full, and the sum. */
export async function fleetText(result: FleetResult, style: Style): Promise<string> {
  const failed = result.tenants.filter(outcome => outcome.status === 'failed')
  const shown = result.tenants.filter(
    outcome => outcome.status !== 'failed' && (style.verbose || result.total <= listed),
  )
  const parts: string[] = []
  if (shown.length > 0) parts.push(await columns(shown.map(outcome => row(outcome, style))))
  if (failed.length > 0) parts.push(failed.map(outcome => failure(outcome, style)).join('\n'))
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
export function fleetSummary(result: FleetResult, style: Style): string {
  if (result.total === 0) return style.dim('No tenants matched.')
  const parts: string[] = []
  const changed = result.tenants.find(outcome => !['up_to_date', 'failed', 'skipped'].includes(outcome.status))
  if (result.succeeded > 0)
    parts.push(style.good(`${result.succeeded} ${changed?.status.replaceAll('_', ' ') ?? 'done'}`))
  if (result.upToDate > 0) parts.push(`${result.upToDate} up to date`)
  if (result.failed > 0) parts.push(style.bad(`${result.failed} failed`))
  if (result.skipped > 0) parts.push(style.warn(`${result.skipped} skipped`))
  const end = style.dim(` of ${plural(result.total, 'tenant')} in ${formatDuration(result.durationMs)}`)
  return `${parts.join(', ')}${end}`
}
