import type { TenancyEvent } from '../../events.ts'
import type { GlobalOptions } from '../global-options.ts'
import type { CliIo } from '../io.ts'
import type { Style } from './style.ts'

/** A finished command, ready to be shown in any format. */
export interface Finished {
  /** The JSON document; `undefined` when there is none. */
  document: unknown
  /** Name for the document in the closing ndjson line when it is an array. */
  arrayKey: string
  text(style: Style): string | Promise<string>
  hint?: string | undefined
}

/** Shows what happens. No command knows which one is active. */
export interface Reporter {
  event(event: TenancyEvent): void
  /** Takes the live line away: a prompt or a child process needs the terminal. */
  pause(): void
  /** A remark for people, on stderr. */
  note(text: string): void
  result(finished: Finished): Promise<void>
  error(error: unknown): Promise<void>
}

export type ReporterOptions = Pick<GlobalOptions, 'output' | 'quiet' | 'verbose' | 'color'>

export async function createReporter(io: CliIo, options: ReporterOptions): Promise<Reporter> {
  switch (options.output) {
    case 'json':
      return (await import('./json.ts')).jsonReporter(io, options)
    case 'ndjson':
      return (await import('./ndjson.ts')).ndjsonReporter(io, options)
    case 'text':
      return (await import('./text.ts')).textReporter(io, options)
  }
}
