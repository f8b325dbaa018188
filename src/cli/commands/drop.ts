import { resolve } from 'node:path'
import type { FleetResult } from '../../fleet/result.ts'
import { defineCommand, examples } from '../command.ts'
import { confirmFleet } from '../confirm-fleet.ts'
import { selectionExitCode, selectionFailure } from '../exit-codes.ts'
import { concurrencyOptions, type FleetInput, readFleet, retention, selectionOptions, toSelection } from '../options.ts'
import { fleetText } from '../output/fleet.ts'

interface Input extends FleetInput {
  force: boolean
  ifExists: boolean
  backup?: string | false
  retain?: string | false
}

export default defineCommand<Input, FleetResult>({
  configure(command) {
    concurrencyOptions(selectionOptions(command))
      .option('--force', 'end open connections first')
      .option('--if-exists', 'succeed when there is no such tenant')
      .option('--backup <dir>', 'write a pg_dump of each there first, and drop it only when that has been verified')
      .option('--no-backup', 'write none, although the configuration says so (drop.backup)')
      .option('--retain <time>', 'keep the data so long, for `undrop`: 7d, 12h', retention)
      .option('--no-retain', 'keep nothing, although the configuration says so (drop.retain)')
    examples(command, [
      'tenantctl drop acme',
      'tenantctl drop acme --yes --force --if-exists',
      'tenantctl drop acme --backup ./backups',
      'tenantctl drop acme --retain 7d',
      'tenantctl drop --label plan=trial',
    ])
  },
  read(command) {
    const { force, ifExists, backup, retain } = command.opts()
    return {
      ...readFleet(command),
      force: Boolean(force),
      ifExists: Boolean(ifExists),
      ...(backup === undefined ? {} : { backup }),
      ...(retain === undefined ? {} : { retain }),
    }
  },
  async run({ selection: given, rollout, force, ifExists, backup, retain }, context) {
    const selection = await toSelection(given, context.io)
    const expect = await confirmFleet(context, selection, 'dropping', { ifExists })
    const { tenants } = await context.tenancy()
    return await tenants.drop(selection, {
      ...rollout,
      ...(force ? { force } : {}),
      ...(ifExists ? { ifExists } : {}),
      ...(expect === undefined ? {} : { expect }),
      ...(backup === undefined ? {} : { backup: backup && resolve(context.io.cwd, backup) }),
      ...(retain === undefined ? {} : { retain }),
      ...context.fleetOptions(),
    })
  },
  text: fleetText,
  hint(result, _input, { flags }) {
    const kept = result.tenants.filter(outcome => outcome.retainedUntil !== undefined)
    const which = kept.length === 1 ? kept[0]?.tenant : '<tenant>'
    return kept.length > 0
      ? `\`tenantctl undrop ${which}${flags.embedded ? ' --embedded' : ''}\` brings it back`
      : undefined
  },
  failure: (result, { selection }) => selectionFailure(result, selection),
  exitCode: (result, { selection }) => selectionExitCode(result, selection),
})
