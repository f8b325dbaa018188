import { defineCommand, examples } from '../command.ts'

export const generate = defineCommand<undefined, { key: string }>({
  configure(command) {
    examples(command, ['export TENANTCTL_ENCRYPTION_KEY="$(tenantctl key generate)"'])
  },
  read: () => undefined,
  async run(_input, context) {
    const { generateEncryptionKey } = await context.library()
    return { key: generateEncryptionKey() }
  },
  text: result => result.key,
  hint: () =>
    'keep it where secrets live, as TENANTCTL_ENCRYPTION_KEY; without it no tenant password can be read again',
})
