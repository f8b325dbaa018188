import { setTimeout as sleep } from 'node:timers/promises'
import type { RegistryConnection } from './connection.ts'
import type { HeldLock } from './lock-session.ts'

/** What a process holds a lock for as long as it lives. */
type Holder = 'run' | 'worker'

/** The advisory lock of a run or a worker; `id` is SQL for its id. */
export function lockKeyOf(holder: Holder, id: string): string {
  return `pg_catalog.hashtextextended('tenantctl ${holder} ' || ${id}, 0)`
}

/** SQL that tells the living from the dead: whether somebody holds that lock. */
export function isHeld(holder: Holder, id: string): string {
  return `EXISTS (
  SELECT FROM pg_catalog.pg_locks l
   WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
     AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
     AND ((l.classid::bigint << 32) | l.objid::bigint) = ${lockKeyOf(holder, id)})`
}

/** Between two attempts to take it anew. */
const pauseMs = 1_000

/**
 * That lock. It is taken anew when its session is lost, perhaps with a restart of the server: whoever holds it is alive,
 * and must not count as dead for long.
 */
export class LastingLock {
  #held: HeldLock | undefined
  #released = false
  #takingAnew = false

  constructor(
    private readonly registry: RegistryConnection,
    private readonly holder: Holder,
    private readonly id: string,
    private readonly onTakenAnew: () => Promise<void> = async () => undefined,
  ) {}

  /** By a statement that takes the lock along with what else it does. */
  async take<Row extends object>(text: string, values: unknown[]): Promise<Row[]> {
    const doing = `taking the lock of a ${this.holder}`
    const held: HeldLock = this.registry.hold(`${this.holder} ${this.id}`, doing, () => {
      // Until it is taken, its statement fails and tells.
      if (this.#held !== held) return
      this.#held = undefined
      void this.#takeAnew()
    })
    try {
      const rows = await held.query<Row>(text, values)
      // It may have been released while it was being taken anew.
      if (this.#released) this.#letGo(held)
      else this.#held = held
      return rows
    } catch (error) {
      this.#letGo(held)
      throw error
    }
  }

  /** Whether it was free. */
  async takeIfFree(): Promise<boolean> {
    const text = `SELECT pg_catalog.pg_try_advisory_lock(${lockKeyOf(this.holder, '$1::text')}) AS free`
    const [row] = await this.take<{ free: boolean }>(text, [this.id])
    return row?.free === true
  }

  release(): void {
    this.#released = true
    this.#letGo(this.#held)
  }

  #letGo(held: HeldLock | undefined): void {
    held?.release(`SELECT pg_catalog.pg_advisory_unlock(${lockKeyOf(this.holder, '$1::text')})`, this.id)
    if (this.#held === held) this.#held = undefined
  }

  async #takeAnew(): Promise<void> {
    if (this.#takingAnew) return
    this.#takingAnew = true
    // The new session may be lost before we are done with it.
    while (!this.#held && !this.#released) {
      try {
        if (await this.takeIfFree()) await this.onTakenAnew()
        // Where the network was cut, the server may believe in the old session for a while, which has it.
        else this.#letGo(this.#held)
      } catch {
        // The server is not back yet.
      }
      if (!this.#held) await sleep(pauseMs, undefined, { ref: false })
    }
    this.#takingAnew = false
  }
}
