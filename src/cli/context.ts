import type { Listener } from '../events.ts'
import type { ResolvedConfig, Setting, Tenancy } from '../index.ts'
import { canPrompt, type GlobalOptions } from './global-options.ts'
import type { CliIo, Library } from './io.ts'
import type { Reporter } from './output/reporter.ts'
import type { SignalWatch } from './signals.ts'

/** What a command gets beside its input. */
export interface CliContext {
  io: CliIo
  options: GlobalOptions
  reporter: Reporter
  signal: AbortSignal
  /** Someone sits there who can answer a question. */
  interactive: boolean
  /** Pass these to every library call that takes them. */
  runOptions: { signal: AbortSignal; onEvent: Listener }
  /** The same for commands over many tenants: the first Ctrl-C lets those at work finish. */
  fleetOptions(): { signal: AbortSignal; drain: AbortSignal; onEvent: Listener }
  library(): Promise<Library>
  config(): Promise<{ config: ResolvedConfig; settings: Setting[]; file: string | null }>
  /** The same for those who only want to look: complains about no missing server. */
  settings(): Promise<{ settings: Setting[]; file: string | null }>
  tenancy(): Promise<Tenancy>
  leaveSignalsToChild: SignalWatch['leaveToChild']
  /** Ends all connections; harmless when there are none. */
  close(): Promise<void>
}

export function createContext(parts: {
  io: CliIo
  options: GlobalOptions
  reporter: Reporter
  signals: SignalWatch
}): CliContext {
  const { io, options, reporter, signals } = parts
  const library = once(io.library ?? (() => import('../index.ts')))
  const sources = () => ({ flags: options.flags, env: io.env, cwd: io.cwd })
  const config = once(async () => (await library()).resolveConfig(sources()))
  let opened: Tenancy | undefined
  let configured: Listener | undefined
  const onEvent: Listener = event => {
    reporter.event(event)
    configured?.(event)
  }

  return {
    io,
    options,
    reporter,
    signal: signals.signal,
    interactive: canPrompt(io, options),
    runOptions: { signal: signals.signal, onEvent },
    fleetOptions: () => {
      signals.drainFirst()
      return { signal: signals.signal, drain: signals.drain, onEvent }
    },
    library,
    config,
    settings: once(async () => (await library()).effectiveSettings(sources())),
    tenancy: once(async () => {
      const { createTenancy } = await library()
      const { config: resolved } = await config()
      configured = resolved.onEvent
      // For what happens before there is a command to tell it: the embedded server starts, the registry is made.
      opened = createTenancy({ ...resolved, onEvent })
      return opened
    }),
    leaveSignalsToChild: signals.leaveToChild,
    close: async () => {
      await opened?.close()
    },
  }
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => {
    made ??= make()
    return made
  }
}
