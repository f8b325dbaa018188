import type { FleetResult } from '../../fleet/result.ts'
import { defineCommand, examples } from '../command.ts'
import { confirmFleet } from '../confirm-fleet.ts'
import { exitCodeOf, fleetExitCode } from '../exit-codes.ts'
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
  force: boolean
  ifExists: boolean
}

export default defineCommand<Input, FleetResult>({
  configure(command) {
    concurrencyOptions(selectionOptions(command))
      .option('--force', 'end open connections first')
      .option('--if-exists', 'succeed when there is no such tenant')
    examples(command, [
      'tenantctl drop acme',
      'tenantctl drop acme --yes --force --if-exists',
      'tenantctl drop --label plan=trial',
    ])
  },
  read(command) {
    const { force, ifExists } = command.opts()
    return {
      selection: readSelection(command),
      rollout: readRollout(command),
      force: Boolean(force),
      ifExists: Boolean(ifExists),
    }
  },
  async run({ selection: given, rollout, force, ifExists }, context) {
    const selection = await toSelection(given, context.io)
    const expect = await confirmFleet(context, selection, 'dropping', { ifExists })
    const { tenants } = await context.tenancy()
    return await tenants.drop(selection, {
      ...rollout,
      ...(force ? { force } : {}),
      ...(ifExists ? { ifExists } : {}),
      ...(expect === undefined ? {} : { expect }),
      ...context.runOptions,
    })
  },
  text: fleetText,
  /** One tenant that was named is no fleet to its user: its own error decides, so that open connections are a 4. */
  exitCode(result, { selection }) {
    const [outcome] = result.tenants
    const namedOne = selection.tenants.length === 1 && selection.file === undefined
    return namedOne && outcome?.error ? exitCodeOf(outcome.error.code) : fleetExitCode(result)
  },
})
