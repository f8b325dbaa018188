import type { PooledConnection } from './pool-types.ts'
import type { Held } from './tenant-pool.ts'

/** To let go of a process costs a little, so it is not done between two queries. */
const restsAfterMs = 100

/** The connections of all tenants that nobody uses, and the clock by which they are given up. */
export class IdleConnections<Connection extends PooledConnection> {
  /** Least recently used first, as a Set keeps the order of insertion. */
  readonly #held = new Set<Held<Connection>>()
  #timer: NodeJS.Timeout | undefined
  #resting: NodeJS.Timeout | undefined
  #stopped = false

  constructor(
    private readonly timeoutMs: number,
    private readonly expire: (held: Held<Connection>) => void,
  ) {}

  get size(): number {
    return this.#held.size
  }

  /** The one that was not used for longest. */
  get oldest(): Held<Connection> | undefined {
    const [oldest] = this.#held
    return oldest
  }

  has(held: Held<Connection>): boolean {
    return this.#held.has(held)
  }

  add(held: Held<Connection>): void {
    held.idleSince = performance.now()
    this.#held.add(held)
    this.#sweepLater()
    this.#resting ??= setTimeout(() => this.#rest(), restsAfterMs).unref()
  }

  delete(held: Held<Connection>): void {
    this.#held.delete(held)
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
    clearTimeout(this.#resting)
  }

  /** A process that has nothing else to do ends in spite of idle connections. */
  #rest(): void {
    this.#resting = undefined
    for (const held of this.#held) held.connection.setBusy(false)
  }

  #sweepLater(): void {
    const { oldest } = this
    if (this.#timer !== undefined || !oldest || this.#stopped) return
    const dueIn = oldest.idleSince + this.timeoutMs - performance.now()
    this.#timer = setTimeout(() => this.#sweep(), Math.max(dueIn, 0) + 1)
    this.#timer.unref()
  }

  #sweep(): void {
    this.#timer = undefined
    const before = performance.now() - this.timeoutMs
    for (const held of this.#held) {
      if (held.idleSince > before) break
      this.expire(held)
    }
    this.#sweepLater()
  }
}
