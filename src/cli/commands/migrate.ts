import type { FleetResult } from '../../fleet/result.ts'
import type { Selection } from '../../fleet/selection.ts'
import type { PendingPlan } from '../../index.ts'
import { defineCommand, examples } from '../command.ts'
import { fleetExitCode } from '../exit-codes.ts'
import {
  type RolloutInput,
  readRollout,
  readSelection,
  rolloutOptions,
  type SelectionInput,
  selectionOptions,
  toSelection,
} from '../options.ts'
import { fleetText } from '../output/fleet.ts'
import { planText } from '../output/plan.ts'

interface Input {
  selection: SelectionInput
  rollout: RolloutInput & { to?: string; verify?: boolean; strict?: boolean; allowChanged?: boolean }
  dryRun: boolean
}

type Result = FleetResult | { command: 'migrate'; dryRun: true; total: number; tenants: PendingPlan[] }

export default defineCommand<Input, Result>({
  configure(command) {
    selectionOptions(command)
      .option('--to <migration>', 'stop after this migration')
      .option('--dry-run', 'print what would run, and change nothing')
    rolloutOptions(command)
      .option('--verify', 'ask every database, not only the registry, what has been applied')
      .option('--strict', 'refuse files that are dangerous on live tables; see `tenantctl lint`')
      .option('--allow-changed', 'accept files that changed after they were applied')
    examples(command, [
      'tenantctl migrate --all',
      'tenantctl migrate acme globex --to 20260103_add_labels',
      'tenantctl migrate --all --canary 5% --max-failures 10 --lock-timeout 5s',
      'tenantctl migrate --label plan=pro --dry-run',
    ])
  },
  read(command) {
    const { to, dryRun, verify, strict, allowChanged } = command.opts()
    const rollout: Input['rollout'] = readRollout(command)
    if (to !== undefined) rollout.to = to
    if (verify) rollout.verify = true
    if (strict) rollout.strict = true
    if (allowChanged) rollout.allowChanged = true
    return { selection: readSelection(command), rollout, dryRun: Boolean(dryRun) }
  },
  async run(input, context) {
    const selection: Selection = await toSelection(input.selection, context.io)
    const { migrations } = await context.tenancy()
    if (!input.dryRun) return await migrations.run(selection, { ...input.rollout, ...context.runOptions })
    const { to } = input.rollout
    const tenants = await migrations.plan(selection, { ...(to === undefined ? {} : { to }), ...context.runOptions })
    return { command: 'migrate', dryRun: true, total: tenants.length, tenants }
  },
  text: (result, style) => ('dryRun' in result ? planText(result.tenants, style) : fleetText(result, style)),
  exitCode: result => ('dryRun' in result ? 0 : fleetExitCode(result)),
})
