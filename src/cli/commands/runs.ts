import { Option } from 'commander'
import type { Run, RunDetails, RunFilter } from '../../index.ts'
import { defineCommand, examples } from '../command.ts'
import { CliError } from '../errors.ts'
import { positiveInteger } from '../options.ts'
import { runDetailsText, runRow } from '../output/run.ts'
import { table } from '../output/table.ts'

type Input = { show: string } | { list: RunFilter }
type Result = Run[] | RunDetails

export default defineCommand<Input, Result>({
  configure(command) {
    command
      .argument('[show]', 'the word "show", for one run')
      .argument('[run]', 'its id, or "last"')
      .option('--command <name>', 'only runs of this command')
      .addOption(
        new Option('--status <status>', 'only runs that ended so').choices([
          ...(['running', 'succeeded', 'failed', 'interrupted'] as const),
        ]),
      )
      .option('--limit <n>', 'at most so many', positiveInteger, 20)
    examples(command, ['tenantctl runs', 'tenantctl runs show last', 'tenantctl runs --status failed --json'])
  },
  read(command) {
    const [show, run] = command.processedArgs as (string | undefined)[]
    if (show === 'show' && run !== undefined) return { show: run }
    if (show === 'show') throw new CliError('USAGE', 'which run? Give its id, or "last"')
    if (show !== undefined)
      throw new CliError('USAGE', `unknown word "${show}"`, { hint: `tenantctl runs show ${show}` })
    const { command: name, status, limit } = command.opts()
    return {
      list: { limit, ...(name === undefined ? {} : { command: name }), ...(status === undefined ? {} : { status }) },
    }
  },
  async run(input, context) {
    const { runs } = await context.tenancy()
    return 'show' in input ? await runs.get(input.show) : await runs.list(input.list)
  },
  arrayKey: 'runs',
  async text(result, style) {
    if (!Array.isArray(result)) return await runDetailsText(result, style)
    if (result.length === 0) return ''
    const head = ['RUN', 'STARTED', 'COMMAND', 'STATUS', 'TENANTS', 'CHANGED', 'FAILED', 'SKIPPED', 'TOOK', 'BY']
    return await table(
      head,
      result.map(run => runRow(run, style)),
      style,
      { right: [4, 5, 6, 7, 8] },
    )
  },
  hint: result => (Array.isArray(result) && result.length === 0 ? 'no fleet command has been recorded yet' : undefined),
})
