import { Command, CommanderError } from 'commander'
import type { AnyCommand } from './command.ts'
import { type CommandEntry, commandTable } from './commands.ts'
import { type CliContext, createContext } from './context.ts'
import { CliError, isPromptExit, toReport } from './errors.ts'
import { exitCodeOf } from './exit-codes.ts'
import {
  addGlobalOptions,
  type GlobalOptions,
  guessOutputFormat,
  notAFormat,
  readGlobalOptions,
} from './global-options.ts'
import { type CliIo, type SignalName, write } from './io.ts'
import { createReporter, type Reporter } from './output/reporter.ts'
import { colorLevel } from './output/style.ts'
import { watchSignals } from './signals.ts'

/** The command that the words lead to: known before its options are read, its module once they made sense. */
interface Asked {
  command?: Command
  module?: AnyCommand
}

/** Parses, runs the one command that was asked for, and turns whatever happens into an exit code. */
export async function runProgram(argv: readonly string[], io: CliIo, version: string): Promise<number> {
  const asked: Asked = {}
  const { program, help } = buildProgram(io, version, asked)
  try {
    await program.parseAsync(rewriteHelp(argv), { from: 'user' })
    if (!asked.command || !asked.module) return 0
    return await runCommand(asked.module, asked.command, io, readGlobalOptions(program))
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0 && !asksAboutNothing(error, asked.command ?? program)) {
      await write(io.stdout, help.out)
      return 0
    }
    // Once more without the wish for help, for commander's own words and guess.
    if (error.exitCode === 0)
      return await runProgram(
        argv.filter(word => !helpWords.includes(word)),
        io,
        version,
      )
    // What was typed could not be read, so its output options are guessed from the bare words.
    const options = {
      output: guessOutputFormat(argv),
      quiet: false,
      verbose: false,
      color: !argv.includes('--no-color'),
    }
    const usage = toUsageError(error, asked.command ?? program)
    await (await createReporter(io, options)).error(usage)
    return exitCodeOf(usage.code)
  }
}

function buildProgram(io: CliIo, version: string, asked: Asked): { program: Command; help: { out: string } } {
  const help = { out: '' }
  const program = new Command('tenantctl')
    .description('Create, migrate, seed and drop tenant databases on PostgreSQL.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    // `help create` is rewritten to `create --help` before it gets here.
    .helpCommand(false)
    .showSuggestionAfterError()
    .configureHelp({
      showGlobalOptions: true,
      styleTitle: title => `\u001b[1m${title}\u001b[22m`,
    })
    .configureOutput({
      writeOut: text => {
        help.out += text
      },
      // Told by the reporter instead, in the format that was asked for.
      writeErr: () => {},
      getOutHelpWidth: () => Math.min(io.stdout.columns ?? 100, 120),
      getOutHasColors: () => colorLevel(io.stdout, io.env, { color: true }) > 0,
    })
    .exitOverride()
  addGlobalOptions(program)

  const entries = new Map<string, CommandEntry>()
  for (const [title, group] of Object.entries(commandTable)) {
    program.commandsGroup(title)
    for (const entry of group) {
      const command = addCommand(program, entry)
      if (!('commands' in entry)) entries.set(entry.name, entry)
      else {
        for (const nested of entry.commands) addCommand(command, nested)
        loadOnDemand(command, new Map(entry.commands.map(nested => [nested.name, nested])), asked)
      }
    }
  }
  loadOnDemand(program, entries, asked)
  program.addHelpText('after', helpEnd)
  return { program, help }
}

const helpEnd = `
Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict, 5 some tenants failed, 6 unreachable

Examples:
  $ tenantctl create acme --embedded
  $ tenantctl migrate --all --canary 5%
  $ tenantctl help create`

function addCommand(parent: Command, entry: { name: string; summary: string; hidden?: true }): Command {
  const command = parent.command(entry.name, { hidden: entry.hidden ?? false })
  return command
    .summary(entry.summary)
    .description(`${entry.summary.charAt(0).toUpperCase()}${entry.summary.slice(1)}.`)
}

/** The hook comes after the name is known and before its options are read: the moment to import the one module. */
function loadOnDemand(parent: Command, entries: ReadonlyMap<string, CommandEntry>, asked: Asked): void {
  parent.hook('preSubcommand', async (_parent, command) => {
    asked.command = command
    const entry = entries.get(command.name())
    if (!entry) return
    const module = await entry.load()
    module.configure(command)
    command.action(() => {
      asked.module = module
    })
  })
}

async function runCommand(module: AnyCommand, command: Command, io: CliIo, options: GlobalOptions): Promise<number> {
  const reporter = await createReporter(io, options)
  const signals = watchSignals(io, (stage, name) => reporter.note(stopping(stage, name)))
  const context = createContext({ io, options, reporter, signals })
  let exitCode: number
  try {
    exitCode = await execute(module, command, context)
  } catch (error) {
    exitCode = await fail(error, reporter)
  }
  try {
    await context.close()
  } catch (error) {
    // The work is done and told; a connection that does not close well is only worth a remark.
    if (options.verbose) reporter.note(`closing the connections failed: ${toReport(error).message}`)
  }
  signals.dispose()
  return module.endsBySignal ? exitCode : (signals.exitCode() ?? exitCode)
}

function stopping(stage: 'drain' | 'cancel', name: SignalName): string {
  if (stage === 'drain')
    return 'finishing the tenants at work and beginning no other; press Ctrl-C again to cancel them'
  return name === 'SIGINT' ? 'stopping; press Ctrl-C again to leave at once' : 'stopping'
}

async function execute(module: AnyCommand, command: Command, context: CliContext): Promise<number> {
  if (context.options.outputFile !== undefined && !module.writesFile)
    throw new CliError('USAGE', notAFormat(context.options.outputFile))
  const input = module.read(command)
  const result = await module.run(input, context)
  const failure = module.failure?.(result, input)
  await context.reporter.result({
    document: module.json ? module.json(result) : result,
    arrayKey: module.arrayKey ?? command.name(),
    text: style => (failure ? '' : module.text(result, style)),
    hint: failure ? undefined : module.hint?.(result, input, context.options),
  })
  if (failure) await context.reporter.error(new CliError(failure.code, failure.message, failure))
  return module.exitCode?.(result, input) ?? 0
}

async function fail(error: unknown, reporter: Reporter): Promise<number> {
  const told = isPromptExit(error) ? new CliError('ABORTED', 'interrupted at a prompt; nothing was done') : error
  await reporter.error(told)
  return exitCodeOf(toReport(told).code)
}

const helpWords = ['help', '-h', '--help']

/** Help on a command that there is not: commander would print that of the program. */
function asksAboutNothing(error: CommanderError, command: Command): boolean {
  const [first] = command.args
  if (error.code !== 'commander.helpDisplayed' || first === undefined || first.startsWith('-')) return false
  return command.commands.length > 0 && !command.commands.some(nested => nested.name() === first)
}

/** What other tools call it; nearer to what was meant than the word that looks alike. */
const otherWords: Record<string, string> = {
  ...{ add: 'create', new: 'create', ls: 'list', get: 'show', describe: 'show', info: 'show' },
  ...{ delete: 'drop', destroy: 'drop', remove: 'drop', rm: 'drop', up: 'migrate', down: 'rollback', fix: 'repair' },
  ...{ import: 'restore', history: 'operations', version: '--version' },
}

/** Commander's `help create` prints before the hook has loaded the command; `create --help` prints after. */
function rewriteHelp(argv: readonly string[]): string[] {
  if (argv.length === 0) return ['--help']
  const [first, ...rest] = argv
  return first === 'help' ? [...rest.filter(word => !word.startsWith('-')), '--help'] : [...argv]
}

function toUsageError(error: CommanderError, command: Command): CliError {
  const see = `see \`${pathOf(command)} --help\``
  // A group without its command: commander meant to print the help, which is no error message.
  if (error.code === 'commander.help') {
    if (!command.parent) return new CliError('USAGE', 'no command was given', { hint: see })
    const names = command.commands.map(nested => nested.name()).join(', ')
    return new CliError('USAGE', `\`${pathOf(command)}\` needs one of its commands`, { hint: `${names}; ${see}` })
  }
  const [message = '', suggestion] = error.message.replace(/^error: /, '').split('\n')
  const known = command.parent ? undefined : otherWords[/^unknown command '(\w+)'$/.exec(message)?.[1] ?? '']
  const guess = known ? `did you mean ${known}?` : suggestion?.replace(/^\(Did (.*)\)$/, 'did $1')
  return new CliError('USAGE', message, { hint: guess ? `${guess} Otherwise ${see}` : see })
}

function pathOf(command: Command): string {
  return command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name()
}
