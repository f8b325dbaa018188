import type { LintFinding } from '../../index.ts'
import { defineCommand, examples } from '../command.ts'
import { plural } from '../output/format.ts'
import { clean } from '../output/sanitize.ts'

export default defineCommand<{ all: boolean }, LintFinding[]>({
  configure(command) {
    command.option('--all', 'all files, not only those that were not applied anywhere yet; needs no server')
    examples(command, ['tenantctl lint', 'tenantctl lint --all --json'])
  },
  read: command => ({ all: Boolean(command.opts().all) }),
  async run({ all }, context) {
    return await (await context.tenancy()).migrations.lint({ all })
  },
  arrayKey: 'findings',
  text(findings, style) {
    if (findings.length === 0) return style.dim('Nothing dangerous found.')
    const lines = findings.map(({ migration, line, rule, message, safer }) =>
      [`${style.bold(`${clean(migration)}:${line}`)}  ${clean(message)}  ${style.dim(rule)}`, `  ${clean(safer)}`].join(
        '\n',
      ),
    )
    return [...lines, style.dim(plural(findings.length, 'finding'))].join('\n')
  },
  exitCode: findings => (findings.length > 0 ? 1 : 0),
})
