import type { Readable, Writable } from 'node:stream'

/** What `context.library()` imports, and what a test may put in its place. */
export type Library = typeof import('../index.ts')

export type SignalName = 'SIGINT' | 'SIGTERM' | 'SIGHUP'

/** Everything of the process that the CLI touches; tests hand in buffers. */
export interface CliIo {
  stdin: Readable & { isTTY?: boolean }
  stdout: OutputStream
  stderr: OutputStream
  env: Record<string, string | undefined>
  cwd: string
  /** Where signals come from; none are handled without it. */
  signals?: SignalSource
  /** Ends the process at once; called when a second signal comes. */
  terminate?: (exitCode: number) => void
  /** Default: imports the package's public door, which takes pg along, so not before it is needed. */
  library?: () => Promise<Library>
}

export interface OutputStream extends Writable {
  isTTY?: boolean
  columns?: number
}

interface SignalSource {
  on(signal: SignalName, listener: (signal: SignalName) => void): unknown
  off(signal: SignalName, listener: (signal: SignalName) => void): unknown
}

export type OutputFormat = 'text' | 'json' | 'ndjson'

/**
 * Whether a line can change in place. A terminal that does not know its width (0: `docker run -t` without a terminal
 * behind it, `expect`, some CI) cannot be told how many lines to erase, and ora would erase for ever.
 */
export function isLive({ isTTY, columns }: OutputStream): boolean {
  return isTTY === true && columns !== 0
}

/** Writes and waits, so that a large document is out before the process ends; a reader that left is no error. */
export function write(stream: OutputStream, text: string): Promise<void> {
  return new Promise(resolve => {
    if (stream.destroyed || stream.writableEnded) resolve()
    else stream.write(text, () => resolve())
  })
}
