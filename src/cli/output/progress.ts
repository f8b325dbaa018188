import type { Ora } from 'ora'
import type { TenancyEvent } from '../../events.ts'
import type { OutputStream } from '../io.ts'
import { EventLines } from './event-line.ts'
import { ProgressState } from './progress-state.ts'
import type { Style } from './style.ts'

export interface Progress {
  event(event: TenancyEvent): void
  /** A line that stays. */
  print(line: string): void
  stop(): void
}

/** Often enough for times to run, and seldom enough for thousands of tenants to cost nothing. */
const redrawMs = 120

/** On a terminal: a line or two that change in place, and are gone in the end. */
export function liveProgress(stream: OutputStream, options: { color: boolean; style: Style | undefined }): Progress {
  const state = new ProgressState()
  const lines = options.style && new EventLines(options.style)
  let spinner: Ora | undefined
  let timer: NodeJS.Timeout | undefined
  let loading = false
  let stopped = false

  const draw = (): void => {
    const now = Date.now()
    // The spinner and a blank stand before the first line.
    const width = (stream.columns ?? 80) - 3
    const line = state.line(now, width)
    if (line === '' || stopped) return
    const details = state.details(now, width - 2)
    const text = [cut(line, width), ...(details === '' ? [] : [`  ${cut(details, width - 2)}`])].join('\n')
    if (spinner) {
      spinner.text = text
      if (!spinner.isSpinning) spinner.start()
    } else if (!loading) {
      loading = true
      void import('ora').then(({ default: ora }) => {
        // discardStdin would put the terminal in raw mode, where Ctrl-C is no signal any more.
        spinner = ora({
          stream: stream as never,
          isEnabled: true,
          discardStdin: false,
          color: options.color ? 'cyan' : false,
        })
        draw()
      })
    }
  }
  const print = (line: string): void => {
    spinner?.clear()
    stream.write(`${line}\n`)
  }
  return {
    event(event) {
      state.add(event, Date.now())
      const line = lines?.line(event)
      if (line !== undefined) print(line)
      stopped = false
      if (timer) return
      draw()
      timer = setInterval(draw, redrawMs).unref()
    },
    print,
    stop() {
      stopped = true
      clearInterval(timer)
      timer = undefined
      spinner?.stop()
    },
  }
}

const secondsBetweenLines = 5

/** Elsewhere: plain lines, and at most one about progress every few seconds, so that a CI log stays readable. */
export function lineProgress(stream: OutputStream, style: Style, now: () => number = Date.now): Progress {
  const state = new ProgressState()
  const lines = new EventLines(style)
  let last = now()
  const print = (line: string): void => {
    stream.write(`${line}\n`)
  }
  return {
    event(event) {
      state.add(event, now())
      const line = lines.line(event)
      if (line !== undefined) print(line)
      if (now() - last < secondsBetweenLines * 1000) return
      last = now()
      const progress = state.line(now())
      // What there is of a fleet of one may be the very event.
      if (progress !== '' && !line?.endsWith(progress)) print(progress)
    },
    print,
    stop() {},
  }
}

/** A line that breaks would be erased only in part. */
function cut(text: string, width: number): string {
  const characters = Array.from(text)
  return characters.length <= width ? text : `${characters.slice(0, Math.max(0, width - 1)).join('')}…`
}
