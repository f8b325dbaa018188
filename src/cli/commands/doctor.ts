import type { DoctorResult } from '../../doctor/finding.ts'
import { defineCommand, examples } from '../command.ts'
import { CliError } from '../errors.ts'
import { positiveInteger } from '../options.ts'
import { doctorText } from '../output/doctor.ts'
import { clean } from '../output/sanitize.ts'
import { confirmByRetyping, registryInWords, requireInteractive } from '../prompts.ts'

interface Input {
  server?: string
  fix: boolean
  isolation: boolean
  sample?: number | 'all'
  dropOrphans: string[]
}

export default defineCommand<Input, DoctorResult>({
  configure(command) {
    command
      .option('--fix', 'put right what can be put right without losing data')
      .option('--isolation', 'also log in as tenants and try to leave their databases')
      .option('--all', "ask every tenant's database what is applied, not only a sample; so with --isolation")
      .option('--sample <n>', 'ask so many tenants of each server (default: 20)', positiveInteger)
      .option('--server <name>', 'this server alone')
      .option(
        '--drop-orphan <database>',
        'with --fix: drop an orphaned database with its data (repeatable)',
        collect,
        [],
      )
    examples(command, [
      'tenantctl doctor',
      'tenantctl doctor --all --fix',
      'tenantctl doctor --isolation --sample 50',
      'tenantctl doctor --fix --drop-orphan tenant_acme',
    ])
    command.addHelpText('after', '\nExits 1 when a problem is left; warnings do not count.')
  },
  read(command) {
    const { fix, isolation, all, sample, server, dropOrphan = [] } = command.opts()
    if (dropOrphan.length > 0 && !fix) throw new CliError('USAGE', '--drop-orphan needs --fix')
    if (all && sample !== undefined) throw new CliError('USAGE', '--all and --sample exclude each other')
    return {
      fix: Boolean(fix),
      isolation: Boolean(isolation),
      dropOrphans: dropOrphan,
      ...(all ? { sample: 'all' as const } : sample === undefined ? {} : { sample }),
      ...(server === undefined ? {} : { server }),
    }
  },
  async run(input, context) {
    for (const name of context.options.yes ? [] : input.dropOrphans) {
      const what = `dropping the orphaned database ${clean(name)} with all of its data`
      requireInteractive(context, what)
      await confirmByRetyping(context, { what: `${what}; ${await registryInWords(context)}`, expected: name })
    }
    return await (await context.tenancy()).doctor({ ...input, ...context.runOptions })
  },
  text: doctorText,
  exitCode: ({ ok }) => (ok ? 0 : 1),
})

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value]
}
