import { TenancyError } from '../errors.ts'
import type { FleetRunOptions } from './run-fleet.ts'

/** One visit's right to go on. */
interface VisitSignal {
  signal: AbortSignal
  /** Why the visit was cut off, as an error; undefined when it was not. */
  error(cause: unknown): TenancyError | undefined
  end(): void
}

/**
 * All that ends a run early: the caller's two signals and the two time limits. Signals of visits are made here one by
 * one, since AbortSignal.any() over a signal that lives as long as the run would keep all of them.
 */
export class StopWatch {
  /** Called when no further tenant may be begun. */
  onStop: (() => void) | undefined
  readonly #visits = new Set<AbortController>()
  readonly #timer: NodeJS.Timeout | undefined
  #late = false

  constructor(private readonly options: FleetRunOptions) {
    options.signal?.addEventListener('abort', this.#cancel)
    options.drain?.addEventListener('abort', this.#stop)
    options.abandon?.addEventListener('abort', this.#stop)
    if (options.runTimeoutMs) {
      this.#timer = setTimeout(() => {
        this.#late = true
        this.#cancel()
      }, options.runTimeoutMs)
    }
  }

  get stopped(): boolean {
    const { signal, drain, abandon } = this.options
    return this.#late || [signal, drain, abandon].some(each => each?.aborted)
  }

  /** Why tenants were left out, when it was for one of these. */
  get reason(): string | undefined {
    if (this.options.signal?.aborted || this.options.drain?.aborted) return 'interrupted'
    return this.#late ? `the run took longer than ${seconds(this.options.runTimeoutMs)}` : undefined
  }

  begin(): VisitSignal {
    const { timeoutMs, signal: callers } = this.options
    const controller = new AbortController()
    this.#visits.add(controller)
    let slow = false
    const expire = () => {
      slow = true
      controller.abort(new Error('timeout'))
    }
    const timer = timeoutMs ? setTimeout(expire, timeoutMs) : undefined
    return {
      signal: controller.signal,
      error: cause => {
        if (!controller.signal.aborted) return undefined
        if (callers?.aborted) return new TenancyError('ABORTED', 'interrupted', { cause })
        const message = slow ? `took longer than ${seconds(timeoutMs)}` : `the run ended: ${this.reason}`
        return new TenancyError('TENANT_TIMEOUT', message, {
          hint: `what was begun was cancelled; give it more time with ${slow ? '--timeout' : '--run-timeout'}`,
          cause,
        })
      },
      end: () => {
        clearTimeout(timer)
        this.#visits.delete(controller)
      },
    }
  }

  /** Shorter when the run is stopped. */
  sleep(milliseconds: number): Promise<void> {
    return new Promise(resolve => {
      const end = () => {
        clearTimeout(timer)
        this.onStop = undefined
        resolve()
      }
      const timer = setTimeout(end, milliseconds)
      this.onStop = end
      if (this.stopped) end()
    })
  }

  dispose(): void {
    clearTimeout(this.#timer)
    this.options.signal?.removeEventListener('abort', this.#cancel)
    this.options.drain?.removeEventListener('abort', this.#stop)
    this.options.abandon?.removeEventListener('abort', this.#stop)
  }

  readonly #stop = (): void => this.onStop?.()

  readonly #cancel = (): void => {
    for (const visit of this.#visits) visit.abort(this.options.signal?.reason ?? new Error('timeout'))
    this.onStop?.()
  }
}

function seconds(milliseconds: number | undefined): string {
  return `${(milliseconds ?? 0) / 1000}s`
}
