import { Argument, Option } from 'commander'
import type { FleetResult } from '../../fleet/result.ts'
import type { Run, RunDetails, RunFilter } from '../../index.ts'
import { defineCommand, examples } from '../command.ts'
import { CliError } from '../errors.ts'
import { fleetExitCode } from '../exit-codes.ts'
import { positiveInteger } from '../options.ts'
import { fleetText } from '../output/fleet.ts'
import { runDetailsText, runRow } from '../output/run.ts'
import { table } from '../output/table.ts'

const words = ['show', 'wait', 'cancel'] as const

type Input = { word: (typeof words)[number]; run: string } | { list: RunFilter }
type Result = Run[] | RunDetails | FleetResult

export default defineCommand<Input, Result>({
  configure(command) {
    command
      .addArgument(
        new Argument('[word]', '"show" a run, "wait" for the end of a queued one, or "cancel" it')
          .choices(words)
          // Refused by `read`, which has a better hint.
          .argParser(String),
      )
      .argument('[run]', 'its id, or "last"')
      .option('--command <name>', 'only runs of this command')
      .addOption(
        new Option('--status <status>', 'only runs that ended so').choices([
          ...(['queued', 'running', 'succeeded', 'failed', 'interrupted'] as const),
        ]),
      )
      .option('--limit <n>', 'at most so many', positiveInteger, 20)
    examples(command, [
      'tenantctl runs',
      'tenantctl runs show last',
      'tenantctl runs --status failed --json',
      'tenantctl runs wait r_0mk3vq8z1abc',
    ])
  },
  read(command) {
    const [first, run] = command.processedArgs as (string | undefined)[]
    const word = words.find(each => each === first)
    if (word && run !== undefined) return { word, run }
    if (word) throw new CliError('USAGE', 'which run? Give its id, or "last"')
    if (first !== undefined)
      throw new CliError('USAGE', `unknown word "${first}"`, { hint: `tenantctl runs show ${first}` })
    const { command: name, status, limit } = command.opts()
    return {
      list: { limit, ...(name === undefined ? {} : { command: name }), ...(status === undefined ? {} : { status }) },
    }
  },
  async run(input, context) {
    const { runs, queue } = await context.tenancy()
    if ('list' in input) return await runs.list(input.list)
    if (input.word === 'wait') return await queue.result(input.run, context.runOptions)
    if (input.word === 'cancel') await queue.cancel(input.run)
    return await runs.get(input.run)
  },
  arrayKey: 'runs',
  async text(result, style) {
    if (!Array.isArray(result))
      return 'id' in result ? await runDetailsText(result, style) : await fleetText(result, style)
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
  exitCode: result => (Array.isArray(result) || 'id' in result ? 0 : fleetExitCode(result)),
})
