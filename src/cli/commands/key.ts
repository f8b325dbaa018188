import type { KeyRotation, KeyUse } from '../../index.ts'
import { defineCommand, examples } from '../command.ts'
import { plural } from '../output/format.ts'
import { clean } from '../output/sanitize.ts'
import { table } from '../output/table.ts'
import { hintLines } from '../output/text.ts'

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

export const rotate = defineCommand<{ all?: true }, KeyRotation>({
  configure(command) {
    command.option('--all', 'also what the first key has encrypted: when a key service has a new version of its key')
    examples(command, [
      'TENANTCTL_ENCRYPTION_KEY="$(tenantctl key generate),$TENANTCTL_ENCRYPTION_KEY" tenantctl key rotate',
      'tenantctl key rotate --json',
    ])
  },
  read: command => (command.opts().all ? { all: true } : {}),
  async run(input, context) {
    return await (await context.tenancy()).keys.rotate({ ...input, ...context.runOptions })
  },
  text({ keyId, total, reencrypted, upToDate, failures }, style) {
    if (total === 0) return style.dim('No passwords are stored.')
    const done = `${plural(reencrypted, 'password')} encrypted anew with key ${clean(keyId)}`
    const rest = upToDate > 0 ? `, ${upToDate} had been already` : ''
    const lines = [`${failures.length > 0 ? style.warn('!') : style.good('✓')} ${done}${rest}`]
    for (const { passwords, tenants, message, hint } of failures) {
      const more = passwords > tenants.length ? ', …' : ''
      lines.push('', `${style.bad('✗')} ${plural(passwords, 'password')} not: ${tenants.map(clean).join(', ')}${more}`)
      lines.push(`  ${clean(message)}`, ...(hint ? hintLines(hint, style) : []))
    }
    return lines.join('\n')
  },
  hint({ failures, unused }) {
    if (failures.length > 0) return 'keep all keys; run it again when that is mended'
    if (unused.length === 0) return undefined
    const keys = `${unused.length === 1 ? 'key' : 'keys'} ${unused.join(', ')}`
    return `nothing in the registry needs ${keys} any more: take it out of the configuration, but keep it as long as you keep backups of the registry`
  },
  exitCode: ({ failures }) => (failures.length > 0 ? 1 : 0),
})

export const list = defineCommand<undefined, KeyUse[]>({
  configure(command) {
    examples(command, ['tenantctl key list'])
  },
  read: () => undefined,
  run: async (_input, context) => await (await context.tenancy()).keys.list(),
  arrayKey: 'keys',
  async text(keys, style) {
    const rows = keys.map(({ keyId, passwords, configured, current }) => [
      style.bold(clean(keyId)),
      String(passwords),
      current ? style.good('encrypts') : configured ? 'decrypts' : style.bad('not configured'),
    ])
    return await table(['KEY', 'PASSWORDS', 'STATE'], rows, style, { right: [1] })
  },
  hint(keys) {
    const used = keys.filter(key => key.passwords > 0)
    if (used.some(key => !key.configured)) {
      return 'what a key has encrypted that is not configured cannot be read: add the key, or `tenantctl rotate-password` those tenants'
    }
    const others = used.some(key => !key.current)
    return others ? '`tenantctl key rotate` encrypts all passwords with the first key' : undefined
  },
})
