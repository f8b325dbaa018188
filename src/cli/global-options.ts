import { type Command, Option } from 'commander'
import type { OutputFormat } from './io.ts'

export interface GlobalOptions {
  /** Settings as given by flags, for `resolveConfig`. */
  flags: { config?: string; registry?: string; embedded?: boolean; migrations?: string; seeds?: string }
  output: OutputFormat
  quiet: boolean
  verbose: boolean
  color: boolean
  yes: boolean
  /** False with --no-input. */
  input: boolean
}

/** Declared on the program alone: commander takes them on either side of the command's name. */
export function addGlobalOptions(program: Command): void {
  program
    .option('-c, --config <file>', 'configuration file (default: tenantctl.config.* found upwards)')
    .option('--registry <url>', 'URL of the registry database')
    .option('--embedded', 'use the embedded PostgreSQL of this project, started when needed')
    .option('--migrations <dir>', 'folder of tenant migrations')
    .option('--seeds <dir>', 'folder of seed files')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['text', 'json', 'ndjson']).default('text'))
    .addOption(new Option('--json', 'the same as -o json').implies({ output: 'json' }))
    .option('-q, --quiet', 'print results and errors only')
    .option('-v, --verbose', 'print steps, durations and the details of errors')
    .option('--no-color', 'no colour (also NO_COLOR, FORCE_COLOR)')
    .option('-y, --yes', 'do not ask for confirmation')
    .option('--no-input', 'never prompt (also when stdin is no terminal, or CI is set)')
}

export function readGlobalOptions(program: Command): GlobalOptions {
  const given = program.opts()
  const flags: GlobalOptions['flags'] = {}
  for (const key of ['config', 'registry', 'migrations', 'seeds'] as const) {
    if (given[key] !== undefined) flags[key] = given[key] as string
  }
  if (given.embedded) flags.embedded = true
  return {
    flags,
    output: given.output as OutputFormat,
    quiet: Boolean(given.quiet),
    verbose: Boolean(given.verbose),
    color: given.color !== false,
    yes: Boolean(given.yes),
    input: given.input !== false,
  }
}

/** The format asked for when the line could not be parsed: its error must have the right shape all the same. */
export function guessOutputFormat(argv: readonly string[]): OutputFormat {
  let guess: OutputFormat = 'text'
  for (const [index, argument] of argv.entries()) {
    if (argument === '--') break
    const value =
      argument.match(/^(?:-o=?|--output=)(.+)$/)?.[1] ??
      (/^(-o|--output)$/.test(argument) ? argv[index + 1] : undefined)
    if (value === 'json' || value === 'ndjson') return value
    if (argument === '--json') guess = 'json'
  }
  return guess
}

/** True when someone sits there who can answer. */
export function canPrompt(
  io: { stdin: { isTTY?: boolean }; stderr: { isTTY?: boolean }; env: Record<string, string | undefined> },
  options: { input: boolean },
): boolean {
  const ci = io.env.CI !== undefined && !['', '0', 'false'].includes(io.env.CI)
  return options.input && !ci && io.stdin.isTTY === true && io.stderr.isTTY === true
}
