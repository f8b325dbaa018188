import { type CliIo, write } from '../io.ts'
import { errorLine } from './json.ts'
import type { Reporter, ReporterOptions } from './reporter.ts'
import { cleanJson } from './sanitize.ts'

/** Every event as a line on stdout when it happens; the last one is `finished`, with the fields of the JSON document. */
export function ndjsonReporter(io: CliIo, options: ReporterOptions): Reporter {
  const line = (value: object): Promise<void> => write(io.stdout, `${cleanJson(value)}\n`)
  return {
    event: event => void line(event),
    pause: () => {},
    note: () => {},
    async result({ document, arrayKey }) {
      if (document === undefined) return
      await line({ event: 'finished', ...(Array.isArray(document) ? { [arrayKey]: document } : (document as object)) })
    },
    async error(error) {
      await write(io.stderr, errorLine(error, options.verbose))
    },
  }
}
