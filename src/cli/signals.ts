import type { CliIo, SignalName } from './io.ts'

/** 128 + the signal's number, as shells show it. */
const codes: Record<SignalName, number> = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }

export interface SignalWatch {
  signal: AbortSignal
  /** Exit code of the signal that came, decided by the signal and not by the error it led to. */
  exitCode(): number | undefined
  /** While a child such as psql has the terminal, Ctrl-C is the child's alone. */
  leaveToChild<T>(work: () => Promise<T>): Promise<T>
  dispose(): void
}

/** First signal: abort, so that statements are cancelled and the journal is written. Second: leave at once. */
export function watchSignals(io: CliIo, onFirst: (name: SignalName) => void): SignalWatch {
  const controller = new AbortController()
  let received: SignalName | undefined
  let ignored = false

  const listener = (name: SignalName): void => {
    if (ignored) return
    if (received) {
      io.terminate?.(codes[name])
      return
    }
    received = name
    controller.abort(new Error(name))
    onFirst(name)
  }
  const names = Object.keys(codes) as SignalName[]
  for (const name of names) io.signals?.on(name, listener)

  return {
    signal: controller.signal,
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
