import type { Ora } from 'ora'
import type { TenancyEvent } from '../../events.ts'
import type { OutputStream } from '../io.ts'
import { eventLine, ProgressState } from './progress-state.ts'
import type { Style } from './style.ts'

export interface Progress {
  event(event: TenancyEvent): void
  /** A line that stays. */
  print(line: string): void
  stop(): void
}

/** On a terminal: one line that changes in place, and is gone in the end. */
export function liveProgress(stream: OutputStream, options: { color: boolean; style: Style | undefined }): Progress {
  const state = new ProgressState()
  let spinner: Ora | undefined
  let loading = false
  let stopped = false

  const show = (): void => {
    const line = state.line(Date.now(), { bar: true })
    if (line === '') return
    stopped = false
    if (spinner) {
      spinner.text = line
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
        if (!stopped) show()
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
      const line = options.style && eventLine(event, options.style)
      if (line !== undefined) print(line)
      show()
    },
    print,
    stop() {
      stopped = true
      spinner?.stop()
    },
  }
}

const secondsBetweenLines = 5

/** Elsewhere: plain lines, and at most one about progress every few seconds, so that a CI log stays readable. */
export function lineProgress(stream: OutputStream, style: Style, now: () => number = Date.now): Progress {
  const state = new ProgressState()
  let last = now()
  const print = (line: string): void => {
    stream.write(`${line}\n`)
  }
  return {
    event(event) {
      state.add(event, now())
      const line = eventLine(event, style)
      if (line !== undefined) print(line)
      else if (now() - last >= secondsBetweenLines * 1000) {
        last = now()
        const progress = state.line(now(), { bar: false })
        if (progress !== '') print(progress)
      }
    },
    print,
    stop() {},
  }
}
