import type { OutputStream } from '../io.ts'

type Paint = (text: string) => string

/** Colours by meaning; every one returns its text unchanged where colour is off. */
export interface Style {
  bold: Paint
  dim: Paint
  good: Paint
  warn: Paint
  bad: Paint
  /** What can be typed or named. */
  accent: Paint
  verbose: boolean
  /** Columns of the terminal that is written to; undefined elsewhere, where nothing is cut. */
  width?: number | undefined
}

type ColorLevel = 0 | 1

/**
 * Our own decision per stream: chalk's default instance looks at stdout only and ignores NO_COLOR on a terminal.
 * A wish for no colour wins over FORCE_COLOR, since control characters in a log cost more than a plain line.
 */
export function colorLevel(
  stream: OutputStream,
  env: Record<string, string | undefined>,
  options: { color: boolean },
): ColorLevel {
  if (!options.color || (env.NO_COLOR ?? '') !== '') return 0
  if (env.FORCE_COLOR !== undefined) return ['0', 'false'].includes(env.FORCE_COLOR) ? 0 : 1
  return stream.isTTY === true && env.TERM !== 'dumb' ? 1 : 0
}

const asIs: Paint = text => text
export const plainStyle: Style = {
  bold: asIs,
  dim: asIs,
  good: asIs,
  warn: asIs,
  bad: asIs,
  accent: asIs,
  verbose: false,
}

export async function createStyle(level: ColorLevel, verbose: boolean, width?: number): Promise<Style> {
  if (level === 0) return { ...plainStyle, verbose, width }
  const { Chalk } = await import('chalk')
  const chalk = new Chalk({ level })
  return {
    bold: chalk.bold,
    dim: chalk.dim,
    good: chalk.green,
    warn: chalk.yellow,
    bad: chalk.red,
    accent: chalk.cyan,
    verbose,
    width,
  }
}
