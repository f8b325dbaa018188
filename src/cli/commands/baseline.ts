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
import { fleetText } from '../output/fleet.ts'

interface Input {
  selection: SelectionInput
  rollout: RolloutInput
  to: string
}

export default defineCommand<Input, FleetResult>({
  configure(command) {
    concurrencyOptions(selectionOptions(command)).requiredOption(
      '--to <migration>',
      'the last migration that the databases have already',
    )
    examples(command, ['tenantctl baseline acme --to 20260103_add_labels'])
  },
  read: command => ({ selection: readSelection(command), rollout: readRollout(command), to: command.opts().to }),
  async run({ selection, rollout, to }, context) {
    const chosen = await toSelection(selection, context.io)
    return await (await context.tenancy()).migrations.baseline(chosen, { ...rollout, ...context.fleetOptions(), to })
  },
  text: fleetText,
  exitCode: result => fleetExitCode(result),
})
