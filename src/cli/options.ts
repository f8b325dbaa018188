import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Selection, TenantFilter } from '../fleet/selection.ts'
import type { Labels, TenantStatus } from '../registry/tenant.ts'
import { CliError } from './errors.ts'
import type { CliIo } from './io.ts'

// Not imported from the registry: the CLI takes only types from the inside, and start-up stays small.
export const tenantStatuses = [
  'provisioning',
  'active',
  'suspended',
  'dropping',
  'failed',
] as const satisfies readonly TenantStatus[]

/** `--label k=v`, repeatable. */
export function collectLabel(value: string, previous: Labels | undefined): Labels {
  const separator = value.indexOf('=')
  if (separator < 1) throw new InvalidArgumentError('Expected key=value.')
  return { ...previous, [value.slice(0, separator)]: value.slice(separator + 1) }
}

export function positiveInteger(value: string): number {
  const number = Number(value)
  if (!/^\d+$/.test(value) || number < 1 || !Number.isSafeInteger(number)) {
    throw new InvalidArgumentError('Expected a whole number of at least 1.')
  }
  return number
}

export function wholeNumber(value: string): number {
  return value === '0' ? 0 : positiveInteger(value)
}

/** `5` or `5%`. */
function countOrPercent(value: string): number | string {
  if (/^\d+$/.test(value)) return wholeNumber(value)
  const percent = Number(value.match(/^(\d+(?:\.\d+)?)%$/)?.[1])
  if (!(percent <= 100)) throw new InvalidArgumentError('Expected a number, or a percentage such as 5%.')
  return value
}

/** `5s`, `500ms`, `2min`, or milliseconds; 0 is no limit, as in PostgreSQL. */
export function duration(value: string): number | string {
  if (/^\d+$/.test(value)) return Number(value)
  if (!/^\d+(\.\d+)?\s?(ms|s|m|min|h)$/.test(value)) {
    throw new InvalidArgumentError('Expected a duration such as 5s, 500ms or 2min.')
  }
  return value
}

/** `7d`, `12h`: always with a unit, since a bare number would be milliseconds. */
export function retention(value: string): string {
  if (/^\d+(\.\d+)?\s?(s|m|min|h|d|w|y|seconds?|minutes?|hours?|days?|weeks?|years?)$/.test(value)) return value
  throw new InvalidArgumentError('Expected a length of time with its unit, such as 7d or 12h.')
}

/** Filters of `list` and of every selection. */
export function filterOptions(command: Command): Command {
  return command
    .option('--label <key=value>', 'only tenants with this label (repeatable, all must hold)', collectLabel)
    .option('--server <name>', 'only tenants on this server')
    .addOption(new Option('--status <status>', 'only tenants in this state').choices(tenantStatuses))
}

export function readFilter(options: Record<string, unknown>): TenantFilter {
  const filter: TenantFilter = {}
  if (options.label !== undefined) filter.labels = options.label as Labels
  if (options.server !== undefined) filter.server = options.server as string
  if (options.status !== undefined) filter.status = options.status as TenantStatus
  return filter
}

/** What was typed; a file of tenants is read only when the command runs. */
export interface SelectionInput {
  tenants: string[]
  file?: string
  failedOf?: string
  all: boolean
  filter: TenantFilter
}

export function selectionOptions(command: Command): Command {
  command
    .argument('[tenant...]', 'slugs or ids')
    .option('--all', 'every tenant')
    .option('--tenants-file <file>', 'slugs or ids from a file, one a line; - is stdin')
    .option('--failed-of <run>', 'tenants that failed in a recorded run, or in the last one: "last"')
  return filterOptions(command)
}

const selectionHint = 'name tenants, or give --all, or filters: --label k=v, --server <name>, --status <status>'

/** No selection at all is a usage error, never "all". */
export function readSelection(command: Command): SelectionInput {
  const selection = readOptionalSelection(command)
  if (!selection) throw new CliError('USAGE', 'no tenants were selected', { hint: selectionHint })
  return selection
}

/** For commands that know what to do without a selection. */
export function readOptionalSelection(command: Command): SelectionInput | undefined {
  const options = command.opts()
  const filter = readFilter(options)
  const tenants = (command.processedArgs[0] as string[] | undefined) ?? []
  const file = options.tenantsFile as string | undefined
  const failedOf = options.failedOf as string | undefined
  const named = tenants.length > 0 || file !== undefined
  const ways = [named, Boolean(options.all), failedOf !== undefined, Object.keys(filter).length > 0]
  const given = ways.filter(Boolean).length
  if (given === 0) return undefined
  if (given > 1)
    throw new CliError('USAGE', 'names, --all, --failed-of and filters exclude each other', { hint: selectionHint })
  const optional = { ...(file === undefined ? {} : { file }), ...(failedOf === undefined ? {} : { failedOf }) }
  return { tenants, ...optional, all: Boolean(options.all), filter }
}

export async function toSelection(input: SelectionInput, io: CliIo): Promise<Selection> {
  if (input.all) return { all: true }
  if (input.failedOf !== undefined) return { failedOf: input.failedOf }
  if (input.file === undefined) return input.tenants.length > 0 ? { tenants: unique(input.tenants) } : input.filter
  const listed = (await readInputFile(input.file, io)).split(/\r?\n/).map(line => line.replace(/#.*/, '').trim())
  const tenants = unique([...input.tenants, ...listed.filter(line => line !== '')])
  // An empty list is a broken script more often than a wish to do nothing.
  if (tenants.length === 0)
    throw new CliError('USAGE', `${input.file === '-' ? 'the standard input' : input.file} names no tenant`)
  return { tenants }
}

/** `-` is stdin. */
export async function readInputFile(file: string, io: CliIo): Promise<string> {
  if (file === '-') return await text(io.stdin)
  try {
    return await readFile(resolve(io.cwd, file), 'utf8')
  } catch (cause) {
    throw new CliError('USAGE', `cannot read ${file}`, { cause })
  }
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)]
}

/** How a fleet command goes about it. */
export function concurrencyOptions(command: Command): Command {
  return command
    .option('--concurrency <n>', 'how many tenants at a time (default: what the servers do best with)', positiveInteger)
    .option('--concurrency-per-server <n>', 'how many at a time on one server', positiveInteger)
    .option('--max-failures <n|n%>', 'start no further tenant after this many failures', countOrPercent)
    .option('--timeout <duration>', 'cancel the work on a tenant after this time', duration)
    .option('--run-timeout <duration>', 'cancel everything after this time', duration)
}

export function rolloutOptions(command: Command): Command {
  return concurrencyOptions(command)
    .option('--canary <n|n%>', 'these tenants first; the rest only when all of them passed', countOrPercent)
    .option('--bake <duration>', 'wait so long between the canary group and the rest', duration)
    .option('--retries <n>', 'tries again after a failure that may pass', wholeNumber)
    .option('--lock-timeout <duration>', 'give up waiting for a lock after this time', duration)
    .option('--statement-timeout <duration>', 'cancel a statement after this time; 0 is never', duration)
}

export interface RolloutInput {
  concurrency?: number
  concurrencyPerServer?: number
  timeout?: number | string
  runTimeout?: number | string
  bake?: number | string
  canary?: number | string
  maxFailures?: number | string
  retries?: number
  lockTimeout?: number | string
  statementTimeout?: number | string
}

const rolloutKeys = [
  ...(['concurrency', 'concurrencyPerServer', 'timeout', 'runTimeout', 'bake', 'canary', 'maxFailures'] as const),
  ...(['retries', 'lockTimeout', 'statementTimeout'] as const),
] as const

/** Only what was given: a key that is undefined would hide the configured value. */
export function readRollout(command: Command): RolloutInput {
  const options = command.opts()
  return Object.fromEntries(rolloutKeys.filter(key => options[key] !== undefined).map(key => [key, options[key]]))
}

/** The tenants of a fleet command, and how it goes about them. */
export interface FleetInput {
  selection: SelectionInput
  rollout: RolloutInput
}

export function readFleet(command: Command): FleetInput {
  return { selection: readSelection(command), rollout: readRollout(command) }
}

/** What is pending, for `plan` and `migrate`. */
export interface PendingInput {
  to?: string
  verify?: true
  strict?: true
  allowChanged?: true
}

export function readPending(command: Command): PendingInput {
  const { to, verify, strict, allowChanged } = command.opts()
  return {
    ...(to === undefined ? {} : { to }),
    ...(verify ? { verify } : {}),
    ...(strict ? { strict } : {}),
    ...(allowChanged ? { allowChanged } : {}),
  }
}

export type LoginRole = 'app' | 'migrator'

/** Which of a tenant's logins, where it has two (`roles: 'separate'`). */
export function roleOption(command: Command): Command {
  return command.addOption(
    new Option('--role <role>', "which login, with roles: 'separate'").choices(['app', 'migrator']).default('app'),
  )
}

export function readRole(command: Command): LoginRole {
  return command.opts().role
}
