import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { TenancyError } from '../errors.ts'

interface ToolRun {
  /** All of the child's environment: nothing of ours reaches it. */
  env?: Record<string, string>
  /** A file descriptor that stdout is written to. Default: it is collected. */
  stdout?: number
  /** On abort the program is ended. */
  signal?: AbortSignal | undefined
}

interface ToolResult {
  stdout: string
  stderr: string
  /** Null when a signal ended it. */
  exitCode: number | null
}

/** What a program that was asked to end may take until it is killed. */
const graceMs = 5_000
/** Of its messages the last ones tell what went wrong. */
const longestMessage = 16_000

/** Runs a program to its end; a failure of its own is a result, not an error. Throws `TOOL_MISSING` and `ABORTED`. */
export async function runTool(file: string, args: readonly string[], run: ToolRun = {}): Promise<ToolResult> {
  const { env = {}, stdout = 'pipe', signal } = run
  const child = spawn(file, args, {
    // Messages in one language, whatever the machine's is.
    env: { LC_ALL: 'C', ...env },
    stdio: ['ignore', stdout, 'pipe'],
    // A process group of its own: Ctrl-C on the terminal is for us, and what it has started itself ends with it.
    detached: process.platform !== 'win32',
  })
  const output = { stdout: '', stderr: '' }
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    output.stderr = (output.stderr + text).slice(-longestMessage)
  })
  let running = true
  const end = async () => {
    kill(child, 'SIGTERM')
    await sleep(graceMs, undefined, { ref: false })
    if (running) kill(child, 'SIGKILL')
  }
  signal?.addEventListener('abort', end, { once: true })
  if (signal?.aborted) void end()
  try {
    const exitCode = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject).once('close', resolve)
    })
    if (signal?.aborted) throw new TenancyError('ABORTED', 'interrupted', { cause: signal.reason })
    return { ...output, exitCode }
  } catch (error) {
    if (error instanceof TenancyError) throw error
    throw new TenancyError('TOOL_MISSING', `${file} could not be started`, { cause: error })
  } finally {
    running = false
    signal?.removeEventListener('abort', end)
  }
}

function kill(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(process.platform === 'win32' ? child.pid : -child.pid, signal)
  } catch {
    // It has ended by itself.
  }
}
