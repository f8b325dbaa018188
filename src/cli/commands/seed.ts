import type { FleetResult } from '../../fleet/result.ts'
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

interface Input {
  selection: SelectionInput
  options: RolloutInput & { only?: string }
}

export default defineCommand<Input, FleetResult>({
  configure(command) {
    rolloutOptions(selectionOptions(command).option('--only <file>', 'run this seed file alone'))
    examples(command, ['tenantctl seed acme', 'tenantctl seed --label plan=demo --only 01_users.sql'])
  },
  read(command) {
    const only = command.opts().only as string | undefined
    return {
      selection: readSelection(command),
      options: { ...readRollout(command), ...(only === undefined ? {} : { only }) },
    }
  },
  async run(input, context) {
    const selection = await toSelection(input.selection, context.io)
    return await (await context.tenancy()).seeds.run(selection, { ...input.options, ...context.fleetOptions() })
  },
  text: fleetText,
  exitCode: fleetExitCode,
})
