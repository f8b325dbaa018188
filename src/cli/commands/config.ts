import type { Setting } from '../../index.ts'
import { defineCommand, examples } from '../command.ts'
import { clean } from '../output/sanitize.ts'
import { table } from '../output/table.ts'

interface Result {
  file: string | null
  settings: Setting[]
}

export default defineCommand<undefined, Result>({
  configure(command) {
    examples(command, ['tenantctl config', "tenantctl config --json | jq '.settings'"])
  },
  read: () => undefined,
  async run(_input, context) {
    const { file, settings } = await context.settings()
    return { file, settings }
  },
  async text({ settings }, style) {
    const rows = settings.map(({ key, value, source }) => [
      style.bold(clean(key)),
      shown(key, value),
      style.dim(clean(source)),
    ])
    return await table(['SETTING', 'VALUE', 'FROM'], rows, style)
  },
  hint: ({ file }) => (file === null ? 'no configuration file; `tenantctl init` writes one' : undefined),
})

/** Milliseconds in the document; people get their unit. */
const durations = /(Timeout|Ttl|\.retain)$/

function shown(key: string, value: unknown): string {
  if (value === undefined || value === null) return '-'
  if (typeof value === 'number' && durations.test(key)) return value === 0 ? '0' : `${value}ms`
  return clean(typeof value === 'object' ? JSON.stringify(value) : value)
}
