import { throwIfAborted } from './errors.ts'

/** Lets so many run at a time, the others in the order in which they came. */
export class Turns {
  #running = 0
  readonly #waiting = new Set<() => void>()

  /** `limit` is asked anew each time that somebody comes or goes. */
  constructor(private readonly limit: () => number) {}

  /** Throws `ABORTED` when the signal fires before it is its turn. */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    throwIfAborted(signal)
    await new Promise<void>((resolve, reject) => {
      const begin = () => {
        signal?.removeEventListener('abort', leave)
        resolve()
      }
      const leave = () => {
        this.#waiting.delete(begin)
        reject(signal?.reason)
      }
      signal?.addEventListener('abort', leave, { once: true })
      this.#waiting.add(begin)
      this.admit()
    }).catch(() => throwIfAborted(signal))
    try {
      return await work()
    } finally {
      this.#running -= 1
      this.admit()
    }
  }

  /** Lets those begin whose turn it is, also because the limit was raised. */
  admit(): void {
    for (const begin of this.#waiting) {
      if (this.#running >= this.limit()) return
      this.#waiting.delete(begin)
      this.#running += 1
      begin()
    }
  }
}
