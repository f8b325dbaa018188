import type { Command } from 'commander'
import type { ErrorReport } from '../errors.ts'
import type { CliContext } from './context.ts'
import type { GlobalOptions } from './global-options.ts'
import type { Style } from './output/style.ts'

/** One command: it declares, reads, calls the library once and returns; the harness prints. */
export interface CommandModule<Input, Result> {
  /** Arguments, options and examples. */
  configure(command: Command): void
  /** Strings to typed input. Throws `USAGE`; touches nothing. */
  read(command: Command): Input
  run(input: Input, context: CliContext): Promise<Result>
  /** The result for people; pure. Nothing is printed for an empty text. */
  text(result: Result, style: Style): string | Promise<string>
  /** The JSON document when it is not the result itself; `undefined` prints none. */
  json?(result: Result): unknown
  /** Key of the closing ndjson line that holds a document which is an array: an array has no fields to give it. */
  arrayKey?: string
  /** What one would type next; shown on stderr to people only. */
  hint?(result: Result, input: Input, options: GlobalOptions): string | undefined
  /** A signal is how this command is meant to end: its own exit code counts, not the signal's. */
  endsBySignal?: boolean
  /** `-o plan.json` names a file that it writes. */
  writesFile?: true
  /** The one error that the result comes down to: told as such, in place of the text. */
  failure?(result: Result, input: Input): ErrorReport | undefined
  /** Default 0. */
  exitCode?(result: Result, input: Input): number
}

export type AnyCommand = CommandModule<unknown, unknown>

export function defineCommand<Input, Result>(module: CommandModule<Input, Result>): CommandModule<Input, Result> {
  return module
}

/** Adds the examples that end a command's help. */
export function examples(command: Command, lines: readonly string[]): void {
  command.addHelpText('after', ['', 'Examples:', ...lines.map(line => `  $ ${line}`)].join('\n'))
}
