import { resolve } from 'node:path'
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
  backup?: string | false
}

export default defineCommand<Input, FleetResult>({
  configure(command) {
    concurrencyOptions(selectionOptions(command))
      .option('--force', 'end open connections first')
      .option('--if-exists', 'succeed when there is no such tenant')
      .option('--backup <dir>', 'write a pg_dump of each there first, and drop it only when that has been verified')
      .option('--no-backup', 'write none, although the configuration says so (drop.backup)')
    examples(command, [
      'tenantctl drop acme',
      'tenantctl drop acme --yes --force --if-exists',
      'tenantctl drop acme --backup ./backups',
      'tenantctl drop --label plan=trial',
    ])
  },
  read(command) {
    const { force, ifExists, backup } = command.opts()
    return {
      selection: readSelection(command),
      rollout: readRollout(command),
      force: Boolean(force),
      ifExists: Boolean(ifExists),
      ...(backup === undefined ? {} : { backup }),
    }
  },
  async run({ selection: given, rollout, force, ifExists, backup }, context) {
    const selection = await toSelection(given, context.io)
    const expect = await confirmFleet(context, selection, 'dropping', { ifExists })
    const { tenants } = await context.tenancy()
    return await tenants.drop(selection, {
      ...rollout,
      ...(force ? { force } : {}),
      ...(ifExists ? { ifExists } : {}),
      ...(expect === undefined ? {} : { expect }),
      ...(backup === undefined ? {} : { backup: backup && resolve(context.io.cwd, backup) }),
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
