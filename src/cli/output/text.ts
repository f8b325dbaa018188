import { causeOf, detailOf, toReport } from '../errors.ts'
import { type CliIo, isLive, write } from '../io.ts'
import { lineProgress, liveProgress, type Progress } from './progress.ts'
import type { Reporter, ReporterOptions } from './reporter.ts'
import { clean, cleanLines } from './sanitize.ts'
import { colorLevel, createStyle, type Style } from './style.ts'

/** For people: the result on stdout, everything else on stderr. */
export async function textReporter(io: CliIo, options: ReporterOptions): Promise<Reporter> {
  const width = io.stdout.isTTY ? io.stdout.columns || undefined : undefined
  const outStyle = await createStyle(colorLevel(io.stdout, io.env, options), options.verbose, width)
  const errLevel = colorLevel(io.stderr, io.env, options)
  const errStyle = await createStyle(errLevel, options.verbose)
  const progress: Progress | undefined = options.quiet
    ? undefined
    : isLive(io.stderr) && io.env.TERM !== 'dumb'
      ? liveProgress(io.stderr, { color: errLevel > 0, style: errStyle })
      : lineProgress(io.stderr, errStyle)

  return {
    event: event => progress?.event(event),
    pause: () => progress?.stop(),
    note: text => progress?.print(text),
    async result({ text, hint }) {
      progress?.stop()
      const out = await text(outStyle)
      if (out !== '') await write(io.stdout, out.endsWith('\n') ? out : `${out}\n`)
      if (hint && !options.quiet) await write(io.stderr, `${errStyle.dim(`hint: ${hint}`)}\n`)
    },
    async error(error) {
      progress?.stop()
      await write(io.stderr, errorText(error, errStyle))
    },
  }
}

/** What, why or which statement, what next: a line each. */
function errorText(error: unknown, style: Style): string {
  const report = toReport(error)
  const [what, ...more] = cleanLines(report.message).split('\n')
  const lines = [`${style.bad('error:')} ${style.bold(what ?? '')}`, ...more.map(line => `  ${line}`)]

  const place = placeOf(report)
  const cause = causeOf(error)
  const why = [place, cause ? clean(cause) : ''].filter(Boolean)
  if (why.length > 0) lines.push(`  ${why.join(': ')}`)
  if (report.hint) lines.push(...hintLines(report.hint, style))
  if (style.verbose) lines.push(...verboseLines(error, report, style))
  return `${lines.join('\n')}\n`
}

/** `003_labels.sql:12`, or what is known of it; empty when the message names the file itself. */
export function placeOf(report: { message: string; migration?: string; line?: number }): string {
  if (!report.migration || report.message.includes(report.migration)) return ''
  return clean(report.line === undefined ? report.migration : `${report.migration}:${report.line}`)
}

export function hintLines(hint: string, style: Style, indent = '  '): string[] {
  const [first, ...rest] = cleanLines(hint).split('\n')
  return [`${indent}${style.accent('hint:')} ${first}`, ...rest.map(line => `${indent}      ${line}`)]
}

function verboseLines(error: unknown, report: ReturnType<typeof toReport>, style: Style): string[] {
  const detail = detailOf(error)
  const facts = [
    ['code', report.code],
    ['tenant', report.tenant],
    ['step', report.step],
    ['operation', report.operationId],
    ['sqlstate', report.sqlstate],
    ['detail', detail],
  ].filter((fact): fact is [string, string] => fact[1] !== undefined)
  const stack = error instanceof Error && error.stack ? error.stack.split('\n').slice(1) : []
  return [
    ...facts.map(([key, value]) => style.dim(`  ${key}: ${clean(value)}`)),
    ...stack.map(line => style.dim(`  ${clean(line.trim())}`)),
  ]
}
