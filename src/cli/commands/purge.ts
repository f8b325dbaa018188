import type { FleetResult } from '../../fleet/result.ts'
import { defineCommand, examples } from '../command.ts'
import { fleetExitCode } from '../exit-codes.ts'
import { positiveInteger } from '../options.ts'
import { fleetText } from '../output/fleet.ts'

export default defineCommand<{ dryRun?: true; max?: number }, FleetResult>({
  configure(command) {
    command.option('--dry-run', 'only tell what would be removed')
    command.option('--max <n>', 'refuse to remove more at once (default: 10)', positiveInteger)
    examples(command, ['tenantctl purge --dry-run', 'tenantctl purge --max 50'])
  },
  read(command) {
    const { dryRun, max } = command.opts()
    return { ...(dryRun ? { dryRun } : {}), ...(max === undefined ? {} : { max }) }
  },
  async run(input, context) {
    return await (await context.tenancy()).tenants.purge({ ...input, ...context.fleetOptions() })
  },
  async text(result, style) {
    return result.total === 0 ? style.dim('No dropped tenant has expired.') : await fleetText(result, style)
  },
  exitCode: fleetExitCode,
})
