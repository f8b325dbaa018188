/** The built command line as users run it: a process of its own. */
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { inject } from 'vitest'

export const binFile = fileURLToPath(new URL('../../bin/tenantctl.js', import.meta.url))

export interface BinOptions {
  /** Added to an environment that holds next to nothing; undefined takes a variable out. */
  env?: Record<string, string | undefined>
  /** Default: an empty folder. */
  cwd?: string
  /** Text on stdin, which is closed after it; without it stdin is empty. */
  input?: string
  /**
   * Run on a pseudo-terminal: stdout holds what the terminal shows, stderr is empty.
   * `answers` are typed one after the other, each when its pattern has appeared after the last answer.
   */
  tty?: boolean
  answers?: [pattern: RegExp, keys: string][]
  /** Sends a signal when the pattern has appeared on stdout or stderr. */
  kill?: { when: RegExp; signal: NodeJS.Signals }
  /** Ends the process with SIGKILL, and `timedOut` in the result. Default 25 s. */
  timeout?: number
  /** Another program than bin/tenantctl.js, run by node. */
  file?: string
}

export interface BinResult {
  stdout: string
  stderr: string
  /** Both, in the order of writing. */
  all: string
  /** Undefined when a signal ended the process. */
  exitCode: number | undefined
  signal: string | undefined
  timedOut: boolean
}

export interface RunningBin {
  pid: number
  /** Ends when the process does; never rejects. */
  done: Promise<BinResult>
  /** What it has written so far. */
  output(): string
  /** Waits for a pattern in stdout or stderr; throws when the process ends without it. */
  waitFor(pattern: RegExp): Promise<RegExpExecArray>
  kill(signal: NodeJS.Signals): void
  /** Types on the terminal, or writes to stdin. */
  type(keys: string): void
}

/** Runs `tenantctl …` to its end. A failure is a result, not an error. */
export function runBin(args: string[], options: BinOptions = {}): Promise<BinResult> {
  return startBin(args, { ...options, input: options.input ?? '' }).done
}

/** Starts `tenantctl …`, for tests that kill it, talk to it or look at the server meanwhile. */
export function startBin(args: string[], options: BinOptions = {}): RunningBin {
  const command = [process.execPath, options.file ?? binFile, ...args]
  const [file, ...rest] = options.tty ? ['script', '-qefc', command.map(shellQuote).join(' '), '/dev/null'] : command
  const child = execa(file as string, rest, {
    cwd: options.cwd ?? inject('emptyFolder'),
    env: { ...cleanEnvironment(options.tty === true), ...options.env },
    extendEnv: false,
    reject: false,
    all: true,
    stripFinalNewline: false,
    timeout: options.timeout ?? 25_000,
    killSignal: 'SIGKILL',
  })
  let written = ''
  const watchers = new Set<() => void>()
  child.all.on('data', (chunk: Buffer) => {
    written += chunk.toString()
    for (const watch of watchers) watch()
  })
  // A process that has ended already does not read any more.
  child.stdin.on('error', () => {})
  const done = child.then(
    ({ stdout, stderr, all, exitCode, signal, timedOut }): BinResult => ({
      stdout,
      stderr,
      all,
      exitCode,
      signal,
      timedOut,
    }),
  )

  async function waitFor(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    const ended = done.then(() => 'ended' as const)
    for (;;) {
      const found = pattern.exec(written.slice(from))
      if (found !== null) return found
      let watch: () => void = () => {}
      const more = new Promise<'more'>(resolve => {
        watch = () => resolve('more')
        watchers.add(watch)
      })
      const what = await Promise.race([more, ended])
      watchers.delete(watch)
      if (what === 'ended' && pattern.exec(written.slice(from)) === null) {
        throw new Error(`the process ended before it wrote ${pattern}:\n${written}`)
      }
    }
  }

  async function answer(): Promise<void> {
    let from = 0
    for (const [pattern, keys] of options.answers ?? []) {
      await waitFor(pattern, from)
      from = written.length
      // The prompt is drawn a moment before the keyboard is read.
      await sleep(30)
      child.stdin.write(keys)
    }
  }

  if (options.kill !== undefined) {
    const { when, signal } = options.kill
    waitFor(when).then(() => child.kill(signal), ignore)
  }
  if (options.answers !== undefined) answer().catch(ignore)
  // A terminal's end of input would be typed as ^D: keep it open.
  else if (options.input !== undefined && !options.tty) child.stdin.end(options.input)
  else if (options.input) child.stdin.write(options.input)

  return {
    pid: child.pid ?? 0,
    done,
    output: () => written,
    waitFor: pattern => waitFor(pattern),
    kill: signal => void child.kill(signal),
    type: keys => void child.stdin.write(keys),
  }
}

/** Whether this machine has util-linux's `script`, which gives a pseudo-terminal without a native module. */
export const hasTerminal = process.platform === 'linux'

/** Nothing of the machine that runs the tests may leak in: no PG*, TENANTCTL_*, DATABASE_URL, CI or ~/.pgpass. */
function cleanEnvironment(tty: boolean): Record<string, string | undefined> {
  const { PATH, TMPDIR } = process.env
  return {
    PATH,
    ...(TMPDIR === undefined ? {} : { TMPDIR }),
    HOME: inject('emptyFolder'),
    LANG: 'C.UTF-8',
    TZ: 'UTC',
    ...(tty ? { TERM: 'xterm-256color', SHELL: '/bin/sh', COLUMNS: '120' } : {}),
  }
}

function shellQuote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`
}

function ignore(): void {
  // The result of the process tells the story.
}
