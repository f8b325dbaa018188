import type { ServerAddress } from '../postgres/address.ts'
import { adminSettings, type Client, close, connect, destroy } from '../postgres/connect.ts'
import type { RegistryQuery } from './connection.ts'

/** A lock in the session. */
export interface HeldLock {
  query: RegistryQuery
  /** `unlock` is SQL for that, whose only parameter is the lock's `id`. */
  release(unlock: string, id: string): void
}

/**
 * A session for the locks that a process holds for long: all of them, since one for each would leave the others no
 * connection to do the work with. It is opened by whoever first needs it, and closed when nobody holds anything.
 */
export class LockSession {
  #client: Promise<Client> | undefined
  /** By the names of their locks, with what to do when the session is lost. */
  readonly #holders = new Map<string, () => void>()
  /** One statement after the other. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(
    private readonly address: ServerAddress,
    /** For an answer. */
    private readonly timeoutMs: number,
  ) {}

  /** The server would give a session the same lock twice. */
  has(name: string): boolean {
    return this.#holders.has(name)
  }

  /** `onLost` is called when the session ends before the lock was released. */
  join(name: string, onLost: () => void): HeldLock {
    this.#holders.set(name, onLost)
    return {
      query: (text, values = []) => this.#inTurn(text, values),
      release: (unlock, id) => {
        if (this.#holders.get(name) !== onLost) return
        this.#holders.delete(name)
        if (this.#holders.size === 0) void this.close()
        // Lost together with its session, of which the others are told.
        else this.#inTurn(unlock, [id]).catch(() => undefined)
      },
    }
  }

  /** Its locks go with it. */
  async close(): Promise<void> {
    const client = this.#client
    this.#client = undefined
    this.#holders.clear()
    await client?.then(close, () => undefined)
  }

  #inTurn<Row extends object>(text: string, values: unknown[]): Promise<Row[]> {
    const turn = this.#last.then(() => this.#query<Row>(text, values))
    this.#last = turn.catch(() => undefined)
    return turn
  }

  async #query<Row>(text: string, values: unknown[]): Promise<Row[]> {
    const client = await this.#open()
    // Neither the lock nor the connection is worth anything when nobody answers.
    const timer = setTimeout(() => destroy(client), this.timeoutMs)
    try {
      return (await client.query(text, values)).rows as Row[]
    } finally {
      clearTimeout(timer)
    }
  }

  #open(): Promise<Client> {
    if (this.#client) return this.#client
    const opening = this.#connect(() => {
      if (this.#client !== opening) return
      this.#client = undefined
      const lost = [...this.#holders.values()]
      this.#holders.clear()
      for (const onLost of lost) onLost()
    })
    this.#client = opening
    opening.catch(() => {
      if (this.#client === opening) this.#client = undefined
    })
    return opening
  }

  async #connect(onEnd: () => void): Promise<Client> {
    const client = await connect(this.address, { doing: 'the registry', settings: adminSettings })
    client.once('end', onEnd)
    try {
      // Of a machine that lost its power the server learns by asking.
      await client.query('SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3')
      return client
    } catch (error) {
      await close(client)
      throw error
    }
  }
}
