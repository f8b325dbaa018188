const stretchMs = 5_000

interface Mark {
  at: number
  done: number
}

/**
 * Tenants a second over the last two stretches of time, so that a slow first tenant or a wait between two groups does
 * not tell against the rate for ever.
 */
export class Pace {
  #done = 0
  #from: Mark
  #middle: Mark

  constructor(now: number) {
    this.#from = { at: now, done: 0 }
    this.#middle = this.#from
  }

  finished(now: number): void {
    this.#done += 1
    if (now - this.#middle.at < stretchMs) return
    this.#from = this.#middle
    this.#middle = { at: now, done: this.#done }
  }

  perSecond(now: number): number {
    return (this.#done - this.#from.done) / Math.max((now - this.#from.at) / 1000, 0.001)
  }

  restart(now: number): void {
    this.#from = { at: now, done: this.#done }
    this.#middle = this.#from
  }
}
