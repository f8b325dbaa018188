import type { CliIo, SignalName } from './io.ts'

/** 128 + the signal's number, as shells show it. */
const codes: Record<SignalName, number> = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }

export interface SignalWatch {
  /** Cancels. */
  signal: AbortSignal
  /** Begins nothing more. */
  drain: AbortSignal
  /** From now on the first Ctrl-C only drains, and the next one cancels. */
  drainFirst(): void
  /** Exit code of the signal that came, decided by the signal and not by the error it led to. */
  exitCode(): number | undefined
  /** While a child such as psql has the terminal, Ctrl-C is the child's alone. */
  leaveToChild<T>(work: () => Promise<T>): Promise<T>
  dispose(): void
}

/**
 * First signal: abort, so that statements are cancelled and the journal is written; second: leave at once. A command
 * over many tenants has one stage more for Ctrl-C. `tell` is called as each stage begins.
 */
export function watchSignals(io: CliIo, tell: (stage: 'drain' | 'cancel', name: SignalName) => void): SignalWatch {
  const controller = new AbortController()
  const drain = new AbortController()
  let drains = false
  let received: SignalName | undefined
  let ignored = false

  const listener = (name: SignalName): void => {
    if (ignored) return
    if (controller.signal.aborted) {
      io.terminate?.(codes[name])
      return
    }
    received ??= name
    const stage = drains && name === 'SIGINT' && !drain.signal.aborted ? 'drain' : 'cancel'
    drain.abort(new Error(name))
    if (stage === 'cancel') controller.abort(new Error(name))
    tell(stage, name)
  }
  const names = Object.keys(codes) as SignalName[]
  for (const name of names) io.signals?.on(name, listener)

  return {
    signal: controller.signal,
    drain: drain.signal,
    drainFirst() {
      drains = true
    },
    exitCode: () => (received ? codes[received] : undefined),
    async leaveToChild(work) {
      ignored = true
      try {
        return await work()
      } finally {
        ignored = false
      }
    },
    dispose() {
      for (const name of names) io.signals?.off(name, listener)
    },
  }
}
