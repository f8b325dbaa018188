import { Command, CommanderError } from 'commander'
import type { AnyCommand } from './command.ts'
import { type CommandEntry, commandTable } from './commands.ts'
import { type CliContext, createContext } from './context.ts'
import { CliError, isPromptExit, toReport } from './errors.ts'
import { exitCodeOf } from './exit-codes.ts'
import { addGlobalOptions, type GlobalOptions, guessOutputFormat, readGlobalOptions } from './global-options.ts'
import { type CliIo, write } from './io.ts'
import { createReporter, type Reporter } from './output/reporter.ts'
import { colorLevel } from './output/style.ts'
import { watchSignals } from './signals.ts'

/** Parses, runs the one command that was asked for, and turns whatever happens into an exit code. */
export async function runProgram(argv: readonly string[], io: CliIo, version: string): Promise<number> {
  let chosen: { module: AnyCommand; command: Command } | undefined
  const { program, help } = buildProgram(io, version, (module, command) => {
    chosen = { module, command }
  })
  try {
    await program.parseAsync(rewriteHelp(argv), { from: 'user' })
    if (!chosen) return 0
    return await runCommand(chosen.module, chosen.command, io, readGlobalOptions(program))
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) {
      await write(io.stdout, help.out)
      return 0
    }
    // What was typed could not be read, so its output options are guessed from the bare words.
    const options = {
      output: guessOutputFormat(argv),
      quiet: false,
      verbose: false,
      color: !argv.includes('--no-color'),
    }
    const usage = toUsageError(error, chosen?.command ?? program)
    await (await createReporter(io, options)).error(usage)
    return exitCodeOf(usage.code)
  }
}

function buildProgram(
  io: CliIo,
  version: string,
  onAction: (module: AnyCommand, command: Command) => void,
): { program: Command; help: { out: string } } {
  const help = { out: '' }
  const program = new Command('tenantctl')
    .description('Create, migrate, seed and drop tenant databases on PostgreSQL.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [command]', 'print help for a command')
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
        loadOnDemand(command, new Map(entry.commands.map(nested => [nested.name, nested])), onAction)
      }
    }
  }
  loadOnDemand(program, entries, onAction)
  program.addHelpText(
    'after',
    '\nExit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict, 5 some tenants failed, 6 unreachable',
  )
  return { program, help }
}

function addCommand(parent: Command, entry: { name: string; summary: string; hidden?: true }): Command {
  const command = parent.command(entry.name, { hidden: entry.hidden ?? false })
  return command
    .summary(entry.summary)
    .description(`${entry.summary.charAt(0).toUpperCase()}${entry.summary.slice(1)}.`)
}

/** The hook comes after the name is known and before its options are read: the moment to import the one module. */
function loadOnDemand(
  parent: Command,
  entries: ReadonlyMap<string, CommandEntry>,
  onAction: (module: AnyCommand, command: Command) => void,
): void {
  parent.hook('preSubcommand', async (_parent, command) => {
    const entry = entries.get(command.name())
    if (!entry) return
    const module = await entry.load()
    module.configure(command)
    command.action(() => onAction(module, command))
  })
}

async function runCommand(module: AnyCommand, command: Command, io: CliIo, options: GlobalOptions): Promise<number> {
  const reporter = await createReporter(io, options)
  const signals = watchSignals(io, () => reporter.note('stopping; press Ctrl-C again to leave at once'))
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
  return signals.exitCode() ?? exitCode
}

async function execute(module: AnyCommand, command: Command, context: CliContext): Promise<number> {
  const input = module.read(command)
  const result = await module.run(input, context)
  await context.reporter.result({
    document: module.json ? module.json(result) : result,
    arrayKey: module.arrayKey ?? command.name(),
    text: style => module.text(result, style),
    hint: module.hint?.(result, input),
  })
  return module.exitCode?.(result, input) ?? 0
}

async function fail(error: unknown, reporter: Reporter): Promise<number> {
  const told = isPromptExit(error) ? new CliError('ABORTED', 'interrupted at a prompt; nothing was done') : error
  await reporter.error(told)
  return exitCodeOf(toReport(told).code)
}

/** Commander's `help create` prints before the hook has loaded the command; `create --help` prints after. */
function rewriteHelp(argv: readonly string[]): string[] {
  if (argv.length === 0) return ['--help']
  const [first, ...rest] = argv
  return first === 'help' ? [...rest.filter(word => !word.startsWith('-')), '--help'] : [...argv]
}

function toUsageError(error: CommanderError, command: Command): CliError {
  const [first = '', suggestion] = error.message.replace(/^error: /, '').split('\n')
  const path = command.parent ? `tenantctl ${command.name()}` : 'tenantctl'
  const see = `see \`${path} --help\``
  // A group without its command: commander meant to print the help, which is no error message.
  const message = error.code === 'commander.help' ? 'a command is missing' : first
  const guess = suggestion?.replace(/^\(|\)$/g, '')
  return new CliError('USAGE', message, { hint: guess ? `${guess.replace('Did', 'did')} Otherwise ${see}` : see })
}
