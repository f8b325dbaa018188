import { type Command, InvalidArgumentError, Option } from 'commander'
import type { OutputFormat } from './io.ts'

export interface GlobalOptions {
  /** Settings as given by flags, for `resolveConfig`. */
  flags: { config?: string; registry?: string; embedded?: boolean; migrations?: string; seeds?: string }
  output: OutputFormat
  /** With `-o <file>.json`, for commands that write one. */
  outputFile?: string
  quiet: boolean
  verbose: boolean
  color: boolean
  yes: boolean
  /** False with --no-input. */
  input: boolean
}

const formats: readonly OutputFormat[] = ['text', 'json', 'ndjson']

/** A format, or the name of a file for the commands that write one. */
function parseOutput(value: string): string {
  if ((formats as readonly string[]).includes(value) || value.endsWith('.json')) return value
  throw new InvalidArgumentError(`Allowed choices are ${formats.join(', ')}.`)
}

/** The same words as commander's, for a command that writes no file. */
export function notAFormat(value: string): string {
  return `option '-o, --output <format>' argument '${value}' is invalid. Allowed choices are ${formats.join(', ')}.`
}

/** Declared on the program alone: commander takes them on either side of the command's name. */
export function addGlobalOptions(program: Command): void {
  program
    .option('-c, --config <file>', 'configuration file (default: tenantctl.config.* found upwards)')
    .option('--registry <url>', 'URL of the registry database')
    .option('--embedded', 'use the embedded PostgreSQL of this project, started when needed')
    .option('--migrations <dir>', 'folder of tenant migrations')
    .option('--seeds <dir>', 'folder of seed files')
    .addOption(
      new Option('-o, --output <format>', 'output format').choices(formats).default('text').argParser(parseOutput),
    )
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
    ...(String(given.output).endsWith('.json')
      ? { output: 'text', outputFile: given.output }
      : { output: given.output as OutputFormat }),
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
