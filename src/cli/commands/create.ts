import type { Command } from 'commander'
import type { FleetResult } from '../../fleet/result.ts'
import type { CreateInput, Tenancy } from '../../index.ts'
import type { Tenant } from '../../registry/tenant.ts'
import { defineCommand, examples } from '../command.ts'
import type { CliContext } from '../context.ts'
import { CliError } from '../errors.ts'
import { fleetExitCode } from '../exit-codes.ts'
import { collectLabel, concurrencyOptions, type RolloutInput, readInputFile, readRollout } from '../options.ts'
import { fleetText } from '../output/fleet.ts'
import { clean } from '../output/sanitize.ts'
import { facts, tenantFacts } from '../output/tenant.ts'
import { parseTenantRows, refuseBadRows } from '../tenant-rows.ts'

type Common = Pick<CreateInput, 'server' | 'labels' | 'seed' | 'ifNotExists' | 'protect'>

type Input =
  | { kind: 'one'; tenant: CreateInput; showUrl: boolean; queue: boolean; wait: boolean }
  | { kind: 'many'; file: string; common: Common; rollout: RolloutInput }

type Result =
  | { kind: 'one'; tenant: Tenant; created: boolean; url?: string }
  | { kind: 'queued'; tenant: Tenant; jobId: string }
  | { kind: 'many'; fleet: FleetResult }

export default defineCommand<Input, Result>({
  configure(command) {
    command
      .argument('[name]', 'name of the tenant, free text')
      .option('--slug <slug>', 'short name (default: made from the name)')
      .option('--database <name>', 'database name (default: made from the slug)')
      .option('--label <key=value>', 'a label (repeatable)', collectLabel)
      .option('--server <name>', 'server to put the database on')
      .option('--no-seed', 'do not run the seed files')
      .option('--if-not-exists', 'succeed, and change nothing, when it is there already')
      .option('--protect', 'protect it against being dropped')
      .option('--show-url', 'also print the connection URL, with password')
      .option('--queue', 'leave the work to `tenantctl worker` and return at once')
      .option('--wait', 'with --queue: return when the worker is done')
      .option('--file <file>', 'make many, from a CSV or ndjson file; - is stdin')
    concurrencyOptions(command)
    examples(command, [
      'tenantctl create acme',
      'tenantctl create "Ácme & Söhne GmbH" --label plan=pro --if-not-exists',
      'tenantctl create --file customers.csv --concurrency 8',
    ])
  },
  read: readInput,
  async run(input, context) {
    if (input.kind === 'one') {
      const tenancy = await context.tenancy()
      if (input.queue) return await enqueue(tenancy, input, context)
      const { created, ...tenant } = await tenancy.tenants.create(input.tenant, context.runOptions)
      if (!input.showUrl) return { kind: 'one', tenant, created }
      const url = await tenancy.tenants.url(tenant.id)
      return { kind: 'one', tenant, created, url: url.reveal() }
    }
    return { kind: 'many', fleet: await createFromFile(input, context) }
  },
  json(result) {
    if (result.kind === 'many') return result.fleet
    if (result.kind === 'queued') return { ...result.tenant, jobId: result.jobId }
    return result.url === undefined ? result.tenant : { ...result.tenant, url: result.url }
  },
  async text(result, style) {
    if (result.kind === 'many') return await fleetText(result.fleet, style)
    const { tenant } = result
    if (result.kind === 'queued') {
      const queued = `${style.good('✓')} Queued ${style.bold(clean(tenant.slug))}`
      return `${queued}\n${facts([...tenantFacts(tenant, style), ['job', result.jobId]], style)}`
    }
    const title = result.created
      ? `${style.good('✓')} Created ${style.bold(clean(tenant.slug))}`
      : `${style.dim('-')} ${style.bold(clean(tenant.slug))} exists already; nothing was changed`
    return `${title}\n${facts([...tenantFacts(tenant, style), ['url', result.url]], style)}`
  },
  hint(result, _input, { flags }) {
    // What found the server this time is needed the next time too; a URL may hold a password and is not repeated.
    const embedded = flags.embedded ? ' --embedded' : ''
    if (result.kind === 'queued') return `a worker makes it: \`tenantctl worker${embedded}\``
    if (result.kind === 'many') {
      const again = 'again with --if-not-exists, what is there is left as it is, and what is half-made is finished'
      return result.fleet.failed > 0 ? again : undefined
    }
    return result.kind === 'one' ? `connect with \`tenantctl psql ${result.tenant.slug}${embedded}\`` : undefined
  },
  exitCode: result => (result.kind === 'many' ? fleetExitCode(result.fleet) : 0),
})

function readInput(command: Command): Input {
  const options = command.opts()
  const name = command.processedArgs[0] as string | undefined
  const common: Common = {}
  if (options.label) common.labels = options.label
  if (options.server !== undefined) common.server = options.server
  if (options.seed === false) common.seed = false
  if (options.ifNotExists) common.ifNotExists = true
  if (options.protect) common.protect = true

  if (options.file !== undefined) {
    const alone = [name === undefined ? '' : 'a name', options.slug && '--slug', options.database && '--database']
    const clash = [...alone, options.showUrl && '--show-url', options.queue && '--queue'].find(Boolean)
    if (clash) throw new CliError('USAGE', `--file makes many tenants; ${clash} is for one`)
    return { kind: 'many', file: options.file, common, rollout: readRollout(command) }
  }
  if (name === undefined) {
    const hint = 'give a name, or --file with many: `tenantctl create acme`'
    throw new CliError('USAGE', 'the name of the tenant is missing', { hint })
  }
  const tenant: CreateInput = { ...common, name }
  if (options.slug !== undefined) tenant.slug = options.slug
  if (options.database !== undefined) tenant.database = options.database
  if (options.wait && !options.queue) throw new CliError('USAGE', '--wait is for --queue')
  return {
    kind: 'one',
    tenant,
    showUrl: Boolean(options.showUrl),
    queue: Boolean(options.queue),
    wait: Boolean(options.wait),
  }
}

async function createFromFile(
  { file: path, common, rollout }: Extract<Input, { kind: 'many' }>,
  context: CliContext,
): Promise<FleetResult> {
  const text = await readInputFile(path, context.io)
  const file = await parseTenantRows(text, path === '-' ? 'the standard input' : path)
  const inputs = file.rows.map(({ row }) => ({ ...common, ...row, labels: { ...common.labels, ...row.labels } }))
  const { tenants } = await context.tenancy()
  refuseBadRows(file, await tenants.checkInputs(inputs))
  const result = await tenants.createMany(inputs, { ...rollout, ...context.fleetOptions() })
  // Outcomes come in the order of the rows.
  const lineOf = (index: number) => file.rows[index]?.line ?? 0
  return { ...result, tenants: result.tenants.map((outcome, index) => ({ ...outcome, line: lineOf(index) })) }
}

async function enqueue(tenancy: Tenancy, input: Extract<Input, { kind: 'one' }>, context: CliContext): Promise<Result> {
  const { tenant, jobId } = await tenancy.queue.create(input.tenant, context.runOptions)
  if (!input.wait) return { kind: 'queued', tenant, jobId }
  await tenancy.queue.wait(jobId, context.runOptions)
  const made = await tenancy.tenants.get(tenant.id)
  if (!input.showUrl) return { kind: 'one', tenant: made, created: true }
  return { kind: 'one', tenant: made, created: true, url: (await tenancy.tenants.url(made.id)).reveal() }
}
