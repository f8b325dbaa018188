import type { FleetResult } from '../../fleet/result.ts'
import { defineCommand, examples } from '../command.ts'
import { fleetExitCode } from '../exit-codes.ts'
import {
  concurrencyOptions,
  type RolloutInput,
  readRollout,
  readSelection,
  type SelectionInput,
  selectionOptions,
  toSelection,
} from '../options.ts'
import { failure } from '../output/fleet.ts'
import { plural } from '../output/format.ts'
import { clean } from '../output/sanitize.ts'
import { table } from '../output/table.ts'

interface Input {
  selection: SelectionInput
  rollout: RolloutInput
  check: boolean
}

export default defineCommand<Input, FleetResult>({
  configure(command) {
    concurrencyOptions(selectionOptions(command)).option('--check', 'exit 5 when anything is pending')
    examples(command, ['tenantctl status acme', 'tenantctl status --all --check'])
  },
  read: command => ({
    selection: readSelection(command),
    rollout: readRollout(command),
    check: Boolean(command.opts().check),
  }),
  async run(input, context) {
    const selection = await toSelection(input.selection, context.io)
    const { migrations } = await context.tenancy()
    return await migrations.status(selection, { ...input.rollout, ...context.runOptions })
  },
  async text(result, style) {
    if (result.total === 0) return style.dim('No tenants matched.')
    const read = result.tenants.filter(outcome => outcome.status !== 'failed')
    const rows = read.map(outcome => {
      const pending = outcome.pending ?? []
      const last = outcome.to ?? outcome.from ?? outcome.applied?.at(-1) ?? '-'
      const state = pending.length > 0 ? style.warn(clean(pending.join(', '))) : style.good('up to date')
      const skipped = outcome.status === 'skipped' ? style.dim('skipped') : state
      return [style.bold(clean(outcome.tenant)), clean(last), String(outcome.applied?.length ?? '-'), skipped]
    })
    const parts: string[] = []
    if (rows.length > 0)
      parts.push(await table(['TENANT', 'SCHEMA', 'APPLIED', 'PENDING'], rows, style, { right: [2] }))
    const failed = result.tenants.filter(outcome => outcome.status === 'failed')
    if (failed.length > 0) parts.push(failed.map(outcome => failure(outcome, style)).join('\n'))
    const behind = read.filter(outcome => (outcome.pending?.length ?? 0) > 0).length
    const sum = behind > 0 ? `${behind} behind` : 'nothing pending'
    const unread = failed.length > 0 ? `, ${failed.length} failed` : ''
    parts.push(style.dim(`${plural(result.total, 'tenant')}, ${sum}${unread}`))
    return parts.join('\n\n')
  },
  exitCode(result, { check }) {
    const pending = result.tenants.some(outcome => (outcome.pending?.length ?? 0) > 0)
    return check && pending ? 5 : fleetExitCode(result)
  },
})
