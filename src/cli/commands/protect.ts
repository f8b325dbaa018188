import { fleetCommand } from '../fleet-command.ts'

export const protect = fleetCommand({
  examples: ['tenantctl protect acme', 'tenantctl protect --label plan=enterprise'],
  run: ({ tenants }, selection, options) => tenants.protect(selection, options),
})

export const unprotect = fleetCommand({
  examples: ['tenantctl unprotect acme'],
  run: ({ tenants }, selection, options) => tenants.unprotect(selection, options),
})
