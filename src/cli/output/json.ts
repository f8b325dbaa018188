import { toReport } from '../errors.ts'
import { type CliIo, isLive, write } from '../io.ts'
import type { Reporter, ReporterOptions } from './reporter.ts'
import { cleanJson } from './sanitize.ts'
import { colorLevel, plainStyle } from './style.ts'

/** One document on stdout when the command ends; on stderr nothing but an error of one line. */
export async function jsonReporter(io: CliIo, options: ReporterOptions): Promise<Reporter> {
  // A live line erases itself, so `tenantctl migrate --all --json | jq` may have one; plain lines would stay.
  const progress =
    isLive(io.stderr) && !options.quiet
      ? (await import('./progress.ts')).liveProgress(io.stderr, {
          color: colorLevel(io.stderr, io.env, options) > 0,
          style: plainStyle,
        })
      : undefined
  return {
    event: event => progress?.event(event),
    pause: () => progress?.stop(),
    note: () => {},
    async result({ document }) {
      progress?.stop()
      if (document !== undefined) await write(io.stdout, `${cleanJson(document, 2)}\n`)
    },
    async error(error) {
      progress?.stop()
      await write(io.stderr, errorLine(error, options.verbose))
    },
  }
}

/** The contract's one line. */
export function errorLine(error: unknown, verbose: boolean): string {
  const stack = verbose && error instanceof Error ? { stack: error.stack } : {}
  return `${cleanJson({ error: { ...toReport(error), ...stack } })}\n`
}
