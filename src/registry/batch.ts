/** So many at once are enough to make the way to the server cheap. */
const mostAtOnce = 500

interface Entry<T> {
  item: T
  resolve(): void
  reject(error: unknown): void
}

/**
 * Writes what many tenants have to say in few statements: what comes while a statement is under way goes together
 * with the next. Whoever is alone is not kept waiting, and nobody's promise is kept before his row is committed.
 */
export class Batch<T> {
  #waiting: Entry<T>[] = []
  #writing: Promise<void> | undefined

  constructor(private readonly write: (items: readonly T[]) => Promise<void>) {}

  add(item: T): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject })
      this.#writing ??= this.#drain()
    })
  }

  async #drain(): Promise<void> {
    // What is added in the same turn of the event loop goes together already.
    await undefined
    while (this.#waiting.length > 0) {
      const entries = this.#waiting.splice(0, mostAtOnce)
      try {
        await this.write(entries.map(entry => entry.item))
        for (const entry of entries) entry.resolve()
      } catch (error) {
        if (entries.length === 1) entries[0]?.reject(error)
        else await this.#oneByOne(entries)
      }
    }
    this.#writing = undefined
  }

  /** One that cannot be written must not fail the others. */
  async #oneByOne(entries: readonly Entry<T>[]): Promise<void> {
    for (const entry of entries) {
      try {
        await this.write([entry.item])
        entry.resolve()
      } catch (error) {
        entry.reject(error)
      }
    }
  }
}
