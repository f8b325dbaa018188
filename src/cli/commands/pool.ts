import type { FillPoolOptions, PoolFilling, PoolStatus } from '../../index.ts'
import { defineCommand, examples } from '../command.ts'
import { wholeNumber } from '../options.ts'
import { plural } from '../output/format.ts'
import { table } from '../output/table.ts'

type FillInput = Pick<FillPoolOptions, 'server' | 'size'>

export const fill = defineCommand<FillInput, PoolFilling[]>({
  configure(command) {
    command
      .option('--server <name>', 'only on one server')
      .option('--size <n>', 'so many this time instead of pool.size; 0 empties the stock', wholeNumber)
    examples(command, ['tenantctl pool fill', 'tenantctl pool fill --server eu --size 50'])
  },
  read(command) {
    const { server, size } = command.opts()
    return { ...(server === undefined ? {} : { server }), ...(size === undefined ? {} : { size }) }
  },
  async run(input, context) {
    return await (await context.tenancy()).pool.fill({ ...input, ...context.runOptions })
  },
  arrayKey: 'pools',
  text: (pools, style) =>
    pools
      .map(({ server, size, ready, made, removed }) => {
        const done = [...(made > 0 ? [`${made} made`] : []), ...(removed > 0 ? [`${removed} removed`] : [])]
        const note = done.length > 0 ? ` (${done.join(', ')})` : ''
        return `${style.good('✓')} ${style.bold(server)}: ${ready} of ${plural(size, 'ready tenant')}${note}`
      })
      .join('\n'),
})

export const status = defineCommand<string | undefined, PoolStatus[]>({
  configure(command) {
    command.option('--server <name>', 'only of one server')
    examples(command, ['tenantctl pool status', 'tenantctl pool status --json'])
  },
  read: command => command.opts().server,
  async run(server, context) {
    const { signal } = context.runOptions
    return await (await context.tenancy()).pool.status({ server, signal })
  },
  arrayKey: 'pools',
  async text(pools, style) {
    const rows = pools.map(({ server, size, ready, stale, unfinished }) => [
      style.bold(server),
      ...[size, ready, stale, unfinished].map(String),
    ])
    return await table(['SERVER', 'SIZE', 'READY', 'STALE', 'UNFINISHED'], rows, style, { right: [1, 2, 3, 4] })
  },
  hint: pools =>
    pools.some(({ size, ready, stale, unfinished }) => ready < size || stale + unfinished > 0)
      ? '`tenantctl pool fill` makes what is missing and removes what is stale'
      : undefined,
})
