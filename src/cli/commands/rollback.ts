import type { FleetResult } from '../../fleet/result.ts'
import { defineCommand, examples } from '../command.ts'
import { confirmFleet } from '../confirm-fleet.ts'
import { CliError } from '../errors.ts'
import { fleetExitCode } from '../exit-codes.ts'
import {
  positiveInteger,
  type RolloutInput,
  readRollout,
  readSelection,
  rolloutOptions,
  type SelectionInput,
  selectionOptions,
  toSelection,
} from '../options.ts'
import { fleetText } from '../output/fleet.ts'

interface Input {
  selection: SelectionInput
  target: { to: string } | { steps: number }
  rollout: RolloutInput
}

export default defineCommand<Input, FleetResult>({
  configure(command) {
    selectionOptions(command)
      .option('--to <migration>', 'undo everything after this migration')
      .option('--steps <n>', 'undo so many migrations', positiveInteger)
    rolloutOptions(command)
    examples(command, ['tenantctl rollback acme --steps 1', 'tenantctl rollback --all --to 20260103_add_labels --yes'])
  },
  read(command) {
    const { to, steps } = command.opts()
    if ((to === undefined) === (steps === undefined)) {
      throw new CliError('USAGE', 'give either --to <migration> or --steps <n>')
    }
    const target = to === undefined ? { steps: steps as number } : { to: to as string }
    return { selection: readSelection(command), target, rollout: readRollout(command) }
  },
  async run(input, context) {
    const selection = await toSelection(input.selection, context.io)
    await confirmFleet(context, selection, 'rolling back')
    const { migrations } = await context.tenancy()
    return await migrations.rollback(selection, { ...input.rollout, ...input.target, ...context.runOptions })
  },
  text: fleetText,
  exitCode: fleetExitCode,
})
