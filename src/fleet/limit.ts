/** Completions in a window, as a multiple of the limit: fewer would measure chance. */
const windowLaps = 2
const shortestWindowMs = 100
/** A step up must be worth so much more throughput to be kept. */
const worthwhile = 1.05
const growth = 2
/** Windows at the settled limit before one more step up is tried: what else the server does changes. */
const windowsBetweenProbes = 40
const oneRefusalMs = 1_000

export interface LimitBounds {
  start: number
  max: number
}

/**
 * How many tenants of one server are worked on at once. Grows as long as that raises the throughput, settles at the
 * best, and halves when the server refuses a connection (additive increase would be slow to find the top, so steps are
 * multiplied; the decrease is that of AIMD). With `start` equal to `max` it only ever makes room after a refusal.
 */
export class Limit {
  current: number
  #max: number
  #best: { limit: number; rate: number } | undefined
  #settledFor: number | undefined
  #refusedAt = Number.NEGATIVE_INFINITY
  #window: { from: number; done: number }

  constructor(
    bounds: LimitBounds,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.#max = Math.max(1, bounds.max)
    this.current = Math.min(Math.max(1, bounds.start), this.#max)
    this.#window = { from: this.now(), done: 0 }
  }

  /** A tenant is done. `saturated`: more were waiting, so that the limit is what bounds the throughput. Tells why the limit changed. */
  finished(saturated: boolean): string | undefined {
    this.#window.done += 1
    const elapsed = this.now() - this.#window.from
    if (this.#window.done < this.current * windowLaps || elapsed < shortestWindowMs) return undefined
    const rate = (this.#window.done * 1000) / elapsed
    this.#restart()
    return saturated ? this.#measured(rate) : undefined
  }

  /** The server refused a connection for want of a slot (53300). */
  refused(): string | undefined {
    // Those begun under the old limit may be refused as well: that is one refusal, not one each.
    if (this.now() - this.#refusedAt < oneRefusalMs) return undefined
    this.#refusedAt = this.now()
    this.#settledFor = 0
    this.#restart()
    if (this.current === 1) return undefined
    this.current = Math.floor(this.current / 2)
    return 'the server refused a connection (53300)'
  }

  #measured(rate: number): string | undefined {
    const per = `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} tenants/s`
    if (this.#settledFor !== undefined) {
      this.#settledFor += 1
      this.#best = { limit: this.current, rate }
      if (this.#settledFor < windowsBetweenProbes || this.current >= this.#max) return undefined
      this.#settledFor = undefined
      return this.#grow(`another step is tried after ${per}`)
    }
    const best = this.#best
    if (best && rate < best.rate * worthwhile) {
      const tried = this.current
      this.current = best.limit
      this.#settledFor = 0
      return `settled: ${Math.round(best.rate)} tenants/s here, ${per} at ${tried}`
    }
    this.#best = { limit: this.current, rate }
    return this.#grow(`${per} so far`)
  }

  #grow(reason: string): string | undefined {
    if (this.current >= this.#max) {
      this.#settledFor = 0
      return undefined
    }
    this.current = Math.min(this.#max, Math.ceil(this.current * growth))
    return reason
  }

  #restart(): void {
    this.#window = { from: this.now(), done: 0 }
  }
}
