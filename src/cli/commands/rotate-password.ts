import { fleetCommand } from '../fleet-command.ts'

export default fleetCommand<{ keepSessions?: true }>({
  configure(command) {
    command.option('--keep-sessions', 'leave open sessions alone, which logged in with the old password')
  },
  read: ({ keepSessions }) => (keepSessions ? { keepSessions } : {}) as { keepSessions?: true },
  examples: ['tenantctl rotate-password acme', 'tenantctl rotate-password --all --yes --concurrency 4'],
  confirm: { doing: 'rotating the password of', refusal: 'rotating a password' },
  run: ({ tenants }, selection, options) => tenants.rotatePassword(selection, options),
})
