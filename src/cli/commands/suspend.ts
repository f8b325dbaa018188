import { fleetCommand } from '../fleet-command.ts'

export const suspend = fleetCommand({
  examples: ['tenantctl suspend acme', 'tenantctl suspend --label plan=trial'],
  run: ({ tenants }, selection, options) => tenants.suspend(selection, options),
})

export const resume = fleetCommand({
  examples: ['tenantctl resume acme', 'tenantctl resume --status suspended'],
  run: ({ tenants }, selection, options) => tenants.resume(selection, options),
})
