import type { FleetResult } from '../../fleet/result.ts'
import type { FleetSummary } from '../../index.ts'
import { defineCommand, examples } from '../command.ts'
import { fleetExitCode } from '../exit-codes.ts'
import { concurrencyOptions, type FleetInput, readFleet, selectionOptions, toSelection } from '../options.ts'
import { failure } from '../output/fleet.ts'
import { plural } from '../output/format.ts'
import { clean } from '../output/sanitize.ts'
import { summaryText } from '../output/summary.ts'
import { table } from '../output/table.ts'

interface Input extends FleetInput {
  check: boolean
  summary: boolean
}

type Result = FleetResult | FleetSummary

/** Up to this many tenants each gets its line, unless --verbose. */
const listed = 30
const mostShown = 200

export default defineCommand<Input, Result>({
  configure(command) {
    concurrencyOptions(selectionOptions(command))
      .option('--check', 'exit 5 when anything is pending')
      .option('--summary', 'the whole fleet on one screen, from the registry alone')
    examples(command, ['tenantctl status acme', 'tenantctl status --all --check', 'tenantctl status --all --summary'])
  },
  read: command => ({
    ...readFleet(command),
    check: Boolean(command.opts().check),
    summary: Boolean(command.opts().summary),
  }),
  async run(input, context) {
    const selection = await toSelection(input.selection, context.io)
    const { migrations } = await context.tenancy()
    if (input.summary) return await migrations.summary(selection)
    return await migrations.status(selection, { ...input.rollout, ...context.fleetOptions() })
  },
  async text(result, style) {
    if ('summary' in result) return await summaryText(result, style)
    if (result.total === 0) return style.dim('No tenants matched.')
    const read = result.tenants.filter(outcome => outcome.status !== 'failed')
    // Of a large fleet only those that lack something are worth a line.
    const large = result.total > listed && !style.verbose
    const wanted = large ? read.filter(outcome => outcome.status !== 'up_to_date') : read
    const shown = large ? wanted.slice(0, mostShown) : wanted
    const rows = shown.map(outcome => {
      const pending = outcome.pending ?? []
      const last = outcome.to ?? outcome.from ?? outcome.applied?.at(-1) ?? '-'
      const unknown = outcome.missing?.length ?? 0
      const states = [
        ...(pending.length > 0 ? [style.warn(clean(pending.join(', ')))] : []),
        ...(unknown > 0 ? [style.warn(`${unknown} applied that the folder lacks`)] : []),
      ]
      const state = states.length > 0 ? states.join('; ') : style.good('up to date')
      const skipped = outcome.status === 'skipped' ? style.dim('skipped') : state
      return [style.bold(clean(outcome.tenant)), clean(last), String(outcome.applied?.length ?? '-'), skipped]
    })
    const parts: string[] = []
    if (rows.length > 0)
      parts.push(await table(['TENANT', 'SCHEMA', 'APPLIED', 'PENDING'], rows, style, { right: [2] }))
    const more = wanted.length - shown.length
    if (more > 0) parts.push(style.dim(`and ${plural(more, 'tenant')} more, with --verbose`))
    const failed = result.tenants.filter(outcome => outcome.status === 'failed')
    if (failed.length > 0) parts.push(failed.map(outcome => failure(outcome, style)).join('\n'))
    const behind = read.filter(outcome => (outcome.pending?.length ?? 0) > 0).length
    const ahead = read.filter(outcome => outcome.missing !== undefined).length
    const sum =
      (behind > 0 ? `${behind} behind` : 'nothing pending') + (ahead > 0 ? `, ${ahead} ahead of the folder` : '')
    const unread = failed.length > 0 ? `, ${failed.length} failed` : ''
    parts.push(style.dim(`${plural(result.total, 'tenant')}, ${sum}${unread}`))
    return parts.join('\n\n')
  },
  exitCode(result, { check }) {
    if ('summary' in result) return check && result.behind > 0 ? 5 : 0
    const pending = result.tenants.some(outcome => (outcome.pending?.length ?? 0) > 0)
    return check && pending ? 5 : fleetExitCode(result)
  },
})
