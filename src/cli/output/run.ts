import type { Run, RunDetails, RunTenant } from '../../index.ts'
import { formatDuration, formatTime, plural } from './format.ts'
import { clean } from './sanitize.ts'
import type { Style } from './style.ts'
import { columns } from './table.ts'
import { facts } from './tenant.ts'

/** Of more tenants only what did not go well is shown, and of that so many, unless --verbose. */
const listed = 50

export function runRow(run: Run, style: Style): string[] {
  const count = (number: number) => (number === 0 ? '-' : number.toLocaleString('en'))
  return [
    style.bold(run.id),
    style.dim(formatTime(run.startedAt)),
    clean(run.command),
    statusText(run.status, style),
    count(run.total),
    count(run.succeeded),
    run.failed > 0 ? style.bad(count(run.failed)) : '-',
    count(run.skipped),
    tookText(run),
    clean(run.actor),
  ]
}

/** All about one run: what was asked, how it ended, and the tenants it came to. */
export async function runDetailsText(run: RunDetails, style: Style): Promise<string> {
  const cutOff = run.tenants.filter(tenant => tenant.status === 'interrupted').length
  const counts = [
    ...(run.succeeded > 0 ? [`${run.succeeded} changed`] : []),
    ...(run.upToDate > 0 ? [`${run.upToDate} up to date`] : []),
    ...(run.failed > 0 ? [style.bad(`${run.failed} failed`)] : []),
    ...(run.skipped > 0 ? [style.warn(`${run.skipped} skipped`)] : []),
    ...(cutOff > 0 ? [style.bad(`${cutOff} interrupted`)] : []),
  ]
  const head = facts(
    [
      ['run', style.bold(run.id)],
      ['command', clean(run.command)],
      ['status', statusText(run.status, style)],
      ['asked', clean(askedText(run))],
      ['started', formatTime(run.startedAt)],
      ['took', tookText(run)],
      ['by', clean(`${run.actor} (pid ${run.pid})`)],
      ['tenants', [plural(run.total, 'tenant'), ...counts].join(', ')],
      ['stopped', run.stopped === null ? null : clean(run.stopped)],
    ],
    style,
  )
  const troubled = run.tenants.filter(tenant => ['failed', 'interrupted', 'skipped'].includes(tenant.status))
  const wanted = style.verbose || run.tenants.length <= listed ? run.tenants : troubled
  const shown = style.verbose ? wanted : wanted.slice(0, listed)
  const parts = [head]
  if (shown.length > 0) parts.push(await columns(shown.map(tenant => tenantRow(tenant, style))))
  const left = run.tenants.length - shown.length
  if (left > 0) parts.push(style.dim(`and ${plural(left, 'tenant')} more, with --verbose`))
  return parts.join('\n\n')
}

const named = 5

/** What was asked for, in words; what nobody foresaw as it is. */
function askedText({ command, parameters }: Run): string {
  const { selection, to, steps, run, resumes, plan, ...others } = parameters
  const rest = Object.keys(others).length > 0 ? [JSON.stringify(others)] : []
  const parts = [
    ...(selection ? [selectionText(selection as Record<string, unknown>)] : []),
    ...(typeof to === 'string' ? [command === 'rollback' ? `back to ${to}` : `up to ${to}`] : []),
    ...(steps === undefined ? [] : [`${steps} back`]),
    ...(run === undefined ? [] : [`what run ${run} did`]),
    ...(resumes === undefined ? [] : [`goes on with ${resumes}`]),
    ...(plan === undefined ? [] : [`the plan of ${formatTime(String(plan))}`]),
  ]
  return [...parts, ...rest].join('; ')
}

function selectionText({ all, tenants, failedOf, labels, ...filter }: Record<string, unknown>): string {
  if (all) return 'all tenants'
  if (failedOf !== undefined) return `what failed in ${failedOf}`
  if (Array.isArray(tenants))
    return tenants.slice(0, named).join(', ') + (tenants.length > named ? ` and ${tenants.length - named} more` : '')
  const pairs = Object.entries((labels ?? {}) as Record<string, string>).map(([key, value]) => `label ${key}=${value}`)
  return [...pairs, ...Object.entries(filter).map(([key, value]) => `${key} ${value}`)].join(', ')
}

function tenantRow(tenant: RunTenant, style: Style): string[] {
  const bad = tenant.status === 'failed' || tenant.status === 'interrupted'
  const status = tenant.status.replaceAll('_', ' ') + (tenant.attempts > 1 ? ` (attempt ${tenant.attempts})` : '')
  return [
    style.bold(clean(tenant.tenant)),
    bad ? style.bad(status) : status,
    tenant.error ? clean(tenant.error.message) : clean(tenant.applied.join(', ')),
    tenant.durationMs === null ? '' : style.dim(formatDuration(tenant.durationMs)),
  ]
}

function statusText(status: Run['status'], style: Style): string {
  if (status === 'succeeded') return style.good(status)
  return status === 'running' || status === 'queued' ? style.accent(status) : style.bad(status)
}

function tookText(run: Run): string {
  const end = run.finishedAt ?? (run.status === 'running' ? new Date().toISOString() : null)
  return end === null ? '-' : formatDuration(Date.parse(end) - Date.parse(run.startedAt))
}
