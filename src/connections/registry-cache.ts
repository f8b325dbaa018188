import type { RegistryWatch } from './registry-watch.ts'

/** What the registry says, and what one would like to know of it later on. */
export interface Cacheable {
  tenantId: string
  /** Under which it is found as well. */
  keys: readonly string[]
}

interface Entry<Value> {
  /** Undefined: the registry has no such thing. */
  value: Value | undefined
  readAt: number
  epoch: number
  outdated: boolean
  used: boolean
}

/** Without word from the registry for that long, something is read again before it is used. */
const timeToLiveMs = 5_000
/** A registry that does not answer keeps nobody who could be served from memory. */
const patienceMs = 2_000
/** Entries; one takes about a kilobyte. */
const capacity = 50_000

/**
 * Things of the registry that are read once and kept until a notification says that they have changed; without one for
 * a while, for a short time to live. When the registry cannot be reached, what is known is used on.
 */
export class RegistryCache<Value extends Cacheable> {
  readonly #entries = new Map<string, Entry<Value>>()
  readonly #keysOfTenant = new Map<string, Set<string>>()
  readonly #absent = new Set<string>()
  /** Counts what was told, so that a reading knows whether something changed meanwhile. */
  #changes = 0
  readonly #reading = new Map<string, Promise<Value | undefined>>()
  /** The last reading failed: nobody waits for the next one. */
  #down = false
  hits = 0
  misses = 0

  constructor(
    private readonly watch: RegistryWatch,
    private readonly read: (key: string) => Promise<Value | undefined>,
    /** What will be refused, and so must not be out of date by even a moment. */
    private readonly isUsable: (value: Value) => boolean,
    private readonly ttlMs: number = timeToLiveMs,
  ) {}

  get size(): number {
    return this.#keysOfTenant.size
  }

  /** Synchronous when it is known and nothing speaks against it, which is nearly always. */
  get(key: string): Value | Promise<Value | undefined> {
    const entry = this.#entries.get(key)
    if (entry?.value && this.#isFresh(entry) && this.isUsable(entry.value)) {
      this.hits += 1
      entry.used = true
      return entry.value
    }
    return this.#lookUp(key, entry)
  }

  /** Something about the tenant has changed. It stays known, for when it cannot be read again. */
  outdate(tenantId: string): void {
    this.#changes += 1
    for (const key of this.#keysOfTenant.get(tenantId) ?? []) {
      const entry = this.#entries.get(key)
      if (entry) entry.outdated = true
    }
    // It may be one that was not there when it was asked for.
    for (const key of this.#absent) this.#entries.delete(key)
    this.#absent.clear()
  }

  /** For readings that must be newer than what an error has shown to be wrong. */
  async reread(key: string): Promise<Value | undefined> {
    const entry = this.#entries.get(key)
    if (entry) entry.outdated = true
    return this.get(key)
  }

  #isFresh(entry: Entry<Value>): boolean {
    if (entry.outdated) return false
    const heardOf = entry.epoch !== 0 && entry.epoch === this.watch.epoch
    const since = heardOf ? Math.max(entry.readAt, this.watch.provenAt) : entry.readAt
    return performance.now() - since < this.ttlMs
  }

  async #lookUp(key: string, entry: Entry<Value> | undefined): Promise<Value | undefined> {
    // Heard all along: a sign of life says that nothing has changed, and that a refusal is right at this moment.
    if (entry && !entry.outdated && entry.epoch !== 0 && entry.epoch === this.watch.epoch) {
      const alive = await this.watch.ping()
      if (alive && !entry.outdated && this.#entries.get(key) === entry) {
        this.hits += 1
        entry.used = true
        return entry.value
      }
    }
    const reading = this.#readOnce(key)
    if (!entry?.value) return reading
    // Whoever stops waiting must not leave a rejection behind.
    const known = entry.value
    const answered = reading.catch(() => known)
    if (this.#down) return known
    let timer: NodeJS.Timeout | undefined
    const impatient = new Promise<Value>(resolve => {
      timer = setTimeout(() => resolve(known), patienceMs)
    })
    return Promise.race([answered, impatient]).finally(() => clearTimeout(timer))
  }

  #readOnce(key: string): Promise<Value | undefined> {
    let reading = this.#reading.get(key)
    if (!reading) {
      this.misses += 1
      reading = this.#readAndKeep(key).finally(() => this.#reading.delete(key))
      this.#reading.set(key, reading)
    }
    return reading
  }

  async #readAndKeep(key: string): Promise<Value | undefined> {
    // Listening first: what changes after the reading is heard.
    await this.watch.start()
    for (let attempt = 1; ; attempt += 1) {
      const changes = this.#changes
      const [readAt, epoch] = [performance.now(), this.watch.epoch]
      let value: Value | undefined
      try {
        value = await this.read(key)
        this.#down = false
      } catch (error) {
        this.#down = true
        // What is known is used for another while, then asked for again.
        const known = this.#entries.get(key)
        if (known?.value) Object.assign(known, { readAt: performance.now(), epoch: 0, outdated: false })
        throw error
      }
      const outdated = changes !== this.#changes
      if (outdated && attempt < 3) continue
      this.#keep(key, { value, readAt, epoch, outdated, used: true })
      return value
    }
  }

  #keep(key: string, entry: Entry<Value>): void {
    const before = this.#entries.get(key)?.value
    for (const each of before?.keys ?? []) this.#entries.delete(each)
    if (!entry.value) {
      if (before) this.#keysOfTenant.delete(before.tenantId)
      this.#entries.set(key, entry)
      this.#absent.add(key)
    } else {
      const { tenantId, keys } = entry.value
      for (const each of [key, ...keys]) {
        this.#entries.set(each, entry)
        this.#absent.delete(each)
        const known = this.#keysOfTenant.get(tenantId)
        if (known) known.add(each)
        else this.#keysOfTenant.set(tenantId, new Set([each]))
      }
    }
    if (this.#entries.size > capacity) this.#forgetUnused()
  }

  /** What nobody has asked for since the last time; in the end half of it, so that this is rare. */
  #forgetUnused(): void {
    for (const [key, entry] of this.#entries) {
      if (!entry.used || this.#entries.size > capacity * 0.9) {
        this.#entries.delete(key)
        this.#absent.delete(key)
        if (entry.value) this.#keysOfTenant.get(entry.value.tenantId)?.delete(key)
        if (entry.value && this.#keysOfTenant.get(entry.value.tenantId)?.size === 0) {
          this.#keysOfTenant.delete(entry.value.tenantId)
        }
      }
      entry.used = false
      if (this.#entries.size < capacity / 2) break
    }
  }
}
