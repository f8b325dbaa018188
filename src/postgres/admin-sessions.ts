import { ServerTurns } from '../turns.ts'
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

interface Idle {
  client: Client
  timer: NodeJS.Timeout
}

/**
 * Admins' sessions, each kept for a moment after its work: whoever makes many tenants would otherwise log in anew for
 * each. One whose work failed or was cancelled is closed, since nobody knows what it still holds, and a cancellation
 * that arrives late must not meet somebody else's statement. A few work at once on a server, the others wait for their
 * turn.
 */
export class AdminSessions {
  readonly #idle = new Map<ServerAddress, Idle[]>()
  /** Of those who want one. */
  readonly turns = new ServerTurns<ServerAddress>()
  #closed = false

  /** `withAdmin` with a session that may have worked before: `work` must leave neither locks nor settings behind. */
  async use<T>(
    address: ServerAddress,
    options: Pick<ConnectOptions, 'signal' | 'doing'>,
    work: (client: Client) => Promise<T>,
  ): Promise<T> {
    return this.turns.run(address, () => this.#use(address, options, work), options.signal)
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
