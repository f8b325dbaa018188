/**
 * What all benchmarks share: how a thing is timed, how two things are compared, and the one shape of a result.
 *
 * Things that are compared run in turn, round by round, so that a machine that slows down slows all of them, and a
 * ratio is the median of the rounds' ratios. `report` prints a figure; under `npm run bench` it goes into the table and
 * bench/results.json as well.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** One line of the result. */
export interface Figure {
  /** What was measured, in a few words. */
  what: string
  value: number
  /** For example 'ms', 'µs', 'MB', 'tenants/min'; an empty string for a count. */
  unit: string
  /** What it is compared with: the `what` of another figure. */
  against?: string
  /** How many times as much as that one, or how many times as fast: `target` says which is good. */
  ratio?: number
  /** What is wanted: of the ratio if there is one, else of the value. */
  target?: { atMost: number } | { atLeast: number }
  /** Anything else worth knowing, in a few words. */
  note?: string
}

/** Prints a figure, and hands it to bench/run.ts when that is the parent. */
export function report(figure: Figure): void {
  console.log(formatFigure(figure))
  process.send?.(figure)
}

/** Undefined for a figure without a target. */
export function isMet({ value, ratio = value, target }: Figure): boolean | undefined {
  if (target === undefined) return undefined
  return 'atMost' in target ? ratio <= target.atMost : ratio >= target.atLeast
}

export function formatFigure(figure: Figure): string {
  const { what, value, unit, ratio, target, note } = figure
  const wanted = target && ('atMost' in target ? `<= ${target.atMost}` : `>= ${target.atLeast}`)
  const verdict = wanted && `wanted ${wanted}${isMet(figure) ? '' : ' MISSED'}`
  return [
    what.padEnd(64),
    `${toDigits(value)} ${unit}`.padStart(18),
    (ratio === undefined ? '' : `${toDigits(ratio)} x`).padStart(9),
    (verdict ?? '').padEnd(22),
    note ?? '',
  ]
    .join('  ')
    .trimEnd()
}

/** Three digits that count, and all of those before the point. */
function toDigits(value: number): string {
  const size = Math.abs(value)
  return value.toFixed(Number.isInteger(value) || size >= 100 ? 0 : size >= 10 ? 1 : 2)
}

/** How long `work` takes, in milliseconds. */
export async function timed(work: () => unknown): Promise<number> {
  const startedAt = performance.now()
  await work()
  return performance.now() - startedAt
}

/** Wall-clock time, and processor time on both sides: on a busy machine only the latter can be compared. */
export interface Cost {
  milliseconds: number
  /** Processor time of this process, in milliseconds. */
  client: number
  /** Processor time of the server's sessions that ended, in milliseconds. */
  server: number
}

/** What `work` costs; `postmaster` is the process id of the server, and the sessions of `work` must end in it. */
export async function costed(postmaster: number, work: () => unknown): Promise<Cost> {
  const before = { ...process.cpuUsage(), server: serverTime(postmaster) }
  const milliseconds = await timed(work)
  const { user, system } = process.cpuUsage()
  // The last sessions are still on their way out.
  await sleep(100)
  return {
    milliseconds,
    client: (user - before.user + system - before.system) / 1000,
    server: serverTime(postmaster) - before.server,
  }
}

/** Of all sessions that have ended, see proc(5): cutime and cstime, in hundredths of a second. */
function serverTime(postmaster: number): number {
  const fields = readFileSync(`/proc/${postmaster}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  return (Number(fields[13]) + Number(fields[14])) * 10
}

/**
 * Each of the cases once per round, one after the other; a case gives what it measured, as it may have to prepare and
 * to clean up around it. Every other round goes backwards: who comes first warms things up for the next.
 */
export async function inTurn<Name extends string>(
  rounds: number,
  cases: Record<Name, (round: number) => number | Promise<number>>,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(cases) as Name[]
  const measured = Object.fromEntries(names.map(name => [name, [] as number[]])) as Record<Name, number[]>
  for (let round = 0; round < rounds; round += 1) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      measured[name].push(await cases[name](round))
    }
  }
  return measured
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] as number) + (sorted[Math.floor(middle)] as number)) / 2
}

/** How many times as much the one is as the other: the median of the ratios of each round. */
export function ratioOf(values: readonly number[], base: readonly number[]): number {
  return median(values.map((value, round) => value / (base[round] as number)))
}
