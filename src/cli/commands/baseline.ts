import { fleetCommand } from '../fleet-command.ts'

export default fleetCommand<{ to: string }>({
  configure(command) {
    command.requiredOption('--to <migration>', 'the last migration that the databases have already')
  },
  read: options => ({ to: options.to as string }),
  examples: ['tenantctl baseline acme --to 20260103_add_labels'],
  run: ({ migrations }, selection, options) => migrations.baseline(selection, options),
  alwaysFleet: true,
})
