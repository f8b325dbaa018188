import type { FleetResult } from '../../fleet/result.ts'
import type { LintFinding, PendingPlan, PlanFile, QueuedRun } from '../../index.ts'
import { defineCommand, examples } from '../command.ts'
import type { CliContext } from '../context.ts'
import { CliError } from '../errors.ts'
import { fleetExitCode } from '../exit-codes.ts'
import {
  type PendingInput,
  type RolloutInput,
  readInputFile,
  readOptionalSelection,
  readPending,
  readRollout,
  readSelection,
  rolloutOptions,
  type SelectionInput,
  selectionOptions,
  toSelection,
} from '../options.ts'
import { fleetText } from '../output/fleet.ts'
import { plural } from '../output/format.ts'
import { groupPlans, lintPending, type PlanGroup, planText } from '../output/plan.ts'

interface Input {
  selection: SelectionInput | undefined
  planFile?: string
  resume?: string
  pending: PendingInput
  rollout: RolloutInput
  dryRun: boolean
  queue: boolean
  wait: boolean
}

interface DryRun {
  command: 'migrate'
  dryRun: true
  total: number
  groups: PlanGroup[]
  /** What in the pending files is dangerous on live tables. */
  findings: LintFinding[]
  tenants: PendingPlan[]
}

interface Queued extends QueuedRun {
  command: 'migrate'
  queued: true
}

type Result = FleetResult | DryRun | Queued

export default defineCommand<Input, Result>({
  configure(command) {
    selectionOptions(command)
      .option('--to <migration>', 'stop after this migration')
      .option('--dry-run', 'print what would run, and change nothing')
      .option('--plan <file>', 'do what `tenantctl plan` wrote down, and refuse when anything has changed since')
      .option('--resume <run>', 'take up a run that was interrupted: its tenants and its target')
      .option('--queue', 'leave the work to `tenantctl worker` and return at once')
      .option('--wait', 'with --queue: return when the workers are done')
    rolloutOptions(command)
      .option('--verify', 'ask every database, not only the registry, what has been applied')
      .option('--strict', 'refuse files that are dangerous on live tables; see `tenantctl lint`')
      .option('--allow-changed', 'accept files that changed after they were applied')
    examples(command, [
      'tenantctl migrate --all',
      'tenantctl migrate acme globex --to 20260103_add_labels',
      'tenantctl migrate --all --canary 5% --max-failures 10 --lock-timeout 5s',
      'tenantctl migrate --label plan=pro --dry-run',
      'tenantctl migrate --failed-of last',
      'tenantctl migrate --plan plan.json',
      'tenantctl migrate --all --queue --wait',
    ])
  },
  read(command) {
    const { to, dryRun, plan, resume, queue, wait } = command.opts()
    const how = { pending: readPending(command), rollout: readRollout(command) }
    const alone = [dryRun && '--dry-run', plan && '--plan'].find(Boolean)
    if (queue && alone) throw new CliError('USAGE', `--queue leaves the work to others; it goes without ${alone}`)
    if (wait && !queue) throw new CliError('USAGE', '--wait is for --queue')
    const queued = { queue: Boolean(queue), wait: Boolean(wait) }
    const given = readOptionalSelection(command)
    const own = plan ?? resume
    if (own === undefined) return { selection: readSelection(command), ...how, dryRun: Boolean(dryRun), ...queued }
    const clash = [given && 'a selection', plan && resume && '--resume', dryRun && '--dry-run', plan && to && '--to']
    const first = clash.find(Boolean)
    if (first) throw new CliError('USAGE', `--${plan ? 'plan' : 'resume'} has its tenants; it goes without ${first}`)
    return { selection: undefined, ...how, dryRun: false, ...queued, ...(plan ? { planFile: plan } : { resume }) }
  },
  async run(input, context) {
    if (input.queue) return await enqueue(input, context)
    const { migrations } = await context.tenancy()
    const { resume, planFile, pending } = input
    const how = { ...input.rollout, ...pending }
    if (planFile !== undefined) {
      const plan = readPlan(await readInputFile(planFile, context.io), planFile)
      return await migrations.run(null, { ...how, plan, ...context.fleetOptions() })
    }
    if (resume !== undefined) return await migrations.run(null, { ...how, resume, ...context.fleetOptions() })
    const selection = await toSelection(input.selection as SelectionInput, context.io)
    if (!input.dryRun) return await migrations.run(selection, { ...how, ...context.fleetOptions() })
    const tenants = await migrations.plan(selection, { ...pending, ...context.runOptions })
    const findings = await lintPending(migrations, tenants)
    return { command: 'migrate', dryRun: true, total: tenants.length, groups: groupPlans(tenants), findings, tenants }
  },
  async text(result, style) {
    if ('dryRun' in result) return await planText(result, style)
    if (!('queued' in result)) return await fleetText(result, style)
    const current = result.upToDate > 0 ? `, ${result.upToDate} up to date` : ''
    return `${style.good('✓')} Queued run ${style.bold(result.run)}: ${plural(result.total, 'tenant')}${current}`
  },
  hint(result, _input, { flags }) {
    const embedded = flags.embedded ? ' --embedded' : ''
    if ('dryRun' in result) return undefined
    if ('queued' in result)
      return `workers do it: \`tenantctl worker${embedded}\`; \`tenantctl runs wait ${result.run}${embedded}\` waits for its end`
    return afterwards(result, embedded)
  },
  exitCode: result => ('dryRun' in result || 'queued' in result ? 0 : fleetExitCode(result)),
})

/** How to go on with a run that did not do all of it. */
function afterwards({ run, stopped, failed }: FleetResult, embedded: string): string | undefined {
  if (run === undefined) return undefined
  if (stopped !== undefined) return `\`tenantctl migrate --resume ${run}${embedded}\` goes on with the run`
  return failed > 0
    ? `\`tenantctl migrate --failed-of ${run}${embedded}\` takes those that failed once more`
    : undefined
}

async function enqueue(input: Input, context: CliContext): Promise<Result> {
  const { queue } = await context.tenancy()
  const selection = input.selection ? await toSelection(input.selection, context.io) : null
  const { resume, rollout, pending } = input
  const resumed = resume === undefined ? {} : { resume }
  const queued = await queue.migrate(selection, { ...rollout, ...pending, ...resumed })
  if (!input.wait) return { command: 'migrate', queued: true, ...queued }
  return await queue.result(queued.run, context.runOptions)
}

function readPlan(text: string, file: string): PlanFile {
  try {
    const plan = JSON.parse(text) as PlanFile
    if (plan.tenantctl === 'plan' && plan.version === 1) return plan
  } catch {
    // Told below.
  }
  throw new CliError('USAGE', `${file} is no plan`, { hint: 'make one with `tenantctl plan --all -o plan.json`' })
}
