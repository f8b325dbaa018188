import { fleetCommand } from '../fleet-command.ts'
import { rolloutOptions } from '../options.ts'

export default fleetCommand<{ only?: string }>({
  rollout: rolloutOptions,
  configure(command) {
    command.option('--only <file>', 'run this seed file alone')
  },
  read: ({ only }) => (only === undefined ? {} : { only }) as { only?: string },
  examples: ['tenantctl seed acme', 'tenantctl seed --label plan=demo --only 01_users.sql'],
  run: ({ seeds }, selection, options) => seeds.run(selection, options),
  alwaysFleet: true,
})
