import { writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { LintFinding, PlanFile } from '../../index.ts'
import { defineCommand, examples } from '../command.ts'
import { CliError } from '../errors.ts'
import {
  type PendingInput,
  readPending,
  readSelection,
  type SelectionInput,
  selectionOptions,
  toSelection,
} from '../options.ts'
import { lintPending, planText } from '../output/plan.ts'
import { clean } from '../output/sanitize.ts'

interface Input {
  selection: SelectionInput
  options: PendingInput
  out: string | undefined
}

interface Result {
  plan: PlanFile
  findings: LintFinding[]
  file: string | undefined
}

export default defineCommand<Input, Result>({
  configure(command) {
    selectionOptions(command)
      .option('--to <migration>', 'stop after this migration')
      .option('--verify', 'ask every database, not only the registry, what has been applied')
      .option('--strict', 'refuse files that are dangerous on live tables; see `tenantctl lint`')
      .option('--allow-changed', 'plan although files changed after they were applied')
      .option('--out <file>', 'write the plan to this file, for `migrate --plan`; so does -o <file>.json')
    examples(command, ['tenantctl plan --all -o plan.json', 'tenantctl plan --label plan=pro --to 20260103_add_labels'])
  },
  writesFile: true,
  read: command => ({ selection: readSelection(command), options: readPending(command), out: command.opts().out }),
  async run({ selection, options, out }, context) {
    const { migrations } = await context.tenancy()
    const chosen = await toSelection(selection, context.io)
    const plan = await migrations.planFile(chosen, { ...options, ...context.runOptions })
    const findings = await lintPending(migrations, [{ pending: plan.migrations }])
    const file = out ?? context.options.outputFile
    if (file === undefined) return { plan, findings, file }
    const path = resolve(context.io.cwd, file)
    await writeFile(path, `${JSON.stringify(plan, null, 2)}\n`).catch(cause => {
      throw new CliError('USAGE', `cannot write ${file}`, { cause })
    })
    return { plan, findings, file }
  },
  json: ({ plan }) => plan,
  text({ plan, findings }, style) {
    const statements = new Map(plan.migrations.map(({ name, sql }) => [name, sql]))
    const tenants = plan.tenants.map(({ tenant, from, pending }) => {
      return { tenant, from, pending: pending.map(name => ({ name, sql: statements.get(name) ?? null })) }
    })
    return planText({ tenants, findings }, style)
  },
  hint({ plan, file }) {
    if (file === undefined && plan.tenants.length === 0) return undefined
    if (file === undefined)
      return 'write it down with `-o plan.json`, and run it with `tenantctl migrate --plan plan.json`'
    return `written to ${clean(file)}; run it with \`tenantctl migrate --plan ${clean(file)}\``
  },
})
