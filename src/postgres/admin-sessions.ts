import { Turns } from '../turns.ts'
import type { ServerAddress } from './address.ts'
import {
  adminSettings,
  type Client,
  type ConnectOptions,
  cancellable,
  close,
  connect,
  holdProcess,
  isConnected,
} from './connect.ts'

/** How long a session waits for more to do. */
const idleMs = 5_000
/**
 * On one server at once. Whoever signs up a hundred customers at the same moment must not take the connections of all
 * others for it, and with more than a few CREATE DATABASE none is done any sooner.
 */
const usualLimit = 8

interface Idle {
  client: Client
  timer: NodeJS.Timeout
}

/**
 * Admins' sessions, each kept for a moment after its work: whoever makes many tenants would otherwise log in anew for
 * each. One whose work failed or was cancelled is closed, since nobody knows what it still holds, and a cancellation
 * that arrives late must not meet somebody else's statement. So many work at once on a server, the others wait for their
 * turn: `work` must not ask for another session, which it might wait for in vain.
 */
export class AdminSessions {
  readonly #idle = new Map<ServerAddress, Idle[]>()
  readonly #turns = new Map<ServerAddress, Turns>()
  readonly #allowed: number[] = []
  #closed = false

  /** Lets so many work at once on each server, until what is returned is called: for a run that limits itself. */
  allow(atOnce: number): () => void {
    this.#allowed.push(atOnce)
    for (const turns of this.#turns.values()) turns.admit()
    return () => void this.#allowed.splice(this.#allowed.indexOf(atOnce), 1)
  }

  /** `withAdmin` with a session that may have worked before: `work` must leave neither locks nor settings behind. */
  async use<T>(
    address: ServerAddress,
    options: Pick<ConnectOptions, 'signal' | 'doing'>,
    work: (client: Client) => Promise<T>,
  ): Promise<T> {
    let turns = this.#turns.get(address)
    if (!turns) {
      turns = new Turns(() => Math.max(usualLimit, ...this.#allowed))
      this.#turns.set(address, turns)
    }
    return turns.run(() => this.#use(address, options, work), options.signal)
  }

  async #use<T>(
    address: ServerAddress,
    options: Pick<ConnectOptions, 'signal' | 'doing'>,
    work: (client: Client) => Promise<T>,
  ): Promise<T> {
    const { signal } = options
    const client = this.#take(address) ?? (await connect(address, { ...options, settings: adminSettings }))
    let result: T
    try {
      result = await cancellable(address, client, signal, () => work(client))
    } catch (error) {
      await close(client)
      throw error
    }
    // Where a lock could not be released, it was closed for that.
    if (this.#closed || signal?.aborted || !isConnected(client)) await close(client)
    else this.#keep(address, client)
    return result
  }

  async close(): Promise<void> {
    this.#closed = true
    const idle = [...this.#idle.values()].flat()
    this.#idle.clear()
    for (const { client, timer } of idle) {
      clearTimeout(timer)
      holdProcess(client, true)
    }
    await Promise.all(idle.map(({ client }) => close(client)))
  }

  #take(address: ServerAddress): Client | undefined {
    const idle = this.#idle.get(address)?.pop()
    if (!idle) return undefined
    clearTimeout(idle.timer)
    idle.client.removeAllListeners('end')
    holdProcess(idle.client, true)
    return idle.client
  }

  #keep(address: ServerAddress, client: Client): void {
    const idle = this.#idle.get(address) ?? []
    this.#idle.set(address, idle)
    const forget = () => {
      const index = idle.findIndex(each => each.client === client)
      if (index >= 0) clearTimeout(idle.splice(index, 1)[0]?.timer)
    }
    const timer = setTimeout(() => {
      forget()
      void close(client)
    }, idleMs)
    // Neither the clock nor the session keeps a process from ending.
    timer.unref()
    holdProcess(client, false)
    client.once('end', forget)
    idle.push({ client, timer })
  }
}
