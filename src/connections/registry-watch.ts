import { setTimeout as sleep } from 'node:timers/promises'
import { TenancyError } from '../errors.ts'
import type { ServerAddress } from '../postgres/address.ts'
import { adminSettings, type Client, close, connect, destroy, holdProcess } from '../postgres/connect.ts'
import { query } from '../postgres/query.ts'

/** Every change of a tenant or of its domains is told here, with the tenant's id. */
const channel = 'tenantctl_tenants'

const firstRetryMs = 250
const longestRetryMs = 15_000

interface WatchListener {
  changed(tenantId: string): void
  /** The connection was lost: what was changed meanwhile is not known. */
  lost(): void
  back(): void
}

/**
 * Hears of other processes' changes to the registry, on a connection of its own. It is opened when it is first asked
 * for, and opened again when it was lost. It does not keep the process alive.
 */
export class RegistryWatch {
  #client: Client | undefined
  #opening: Promise<void> | undefined
  #ping: Promise<boolean> | undefined
  #provenAt = Number.NEGATIVE_INFINITY
  #epoch = 0
  #closed = false
  readonly #stop = new AbortController()

  constructor(
    private readonly address: ServerAddress,
    private readonly listener: WatchListener,
    private readonly answerWithinMs: number,
  ) {}

  /** Counts the connections; what was read under an earlier one may have changed unheard. 0: there is none now. */
  get epoch(): number {
    return this.#client ? this.#epoch : 0
  }

  /** When the connection last proved that it was alive, on the clock of `performance.now()`. */
  get provenAt(): number {
    return this.#provenAt
  }

  /** Begins to listen, if it does not yet. Never rejects. */
  start(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#opening ??= this.#open().catch(() => void this.#retry())
    return this.#opening
  }

  /**
   * Asks the server for a sign of life. Afterwards everything has been heard that was committed before the call. False
   * when there is no connection, or no answer in time.
   */
  async ping(): Promise<boolean> {
    // One that is under way may have been answered before the change that the caller wants to hear of.
    await this.#ping
    this.#ping ??= this.#send().finally(() => {
      this.#ping = undefined
    })
    return this.#ping
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#stop.abort()
    await this.#opening
    const client = this.#client
    this.#client = undefined
    if (!client) return
    // Or the process could end before its last words.
    holdProcess(client, true)
    await close(client)
  }

  async #send(): Promise<boolean> {
    const client = this.#client
    if (!client) return false
    const timer = setTimeout(() => destroy(client), this.answerWithinMs)
    try {
      holdProcess(client, true)
      await client.query('SELECT 1')
      holdProcess(client, false)
      this.#provenAt = performance.now()
      return true
    } catch {
      this.#lose(client)
      return false
    } finally {
      clearTimeout(timer)
    }
  }

  async #open(): Promise<void> {
    const client = await connect(this.address, { doing: 'listening to the registry', settings: adminSettings })
    try {
      client.on('notification', ({ payload }) => payload && this.listener.changed(payload))
      await query(client, 'listening to the registry', `LISTEN ${channel}`)
      // A pooler in transaction mode gives the LISTEN to one server connection and the next query to another.
      const [heard] = await query<{ listening: boolean }>(client, 'listening to the registry', listeningText)
      if (!heard?.listening) {
        throw new TenancyError('POOLER_IN_PATH', 'the registry is reached through a pooler that loses LISTEN')
      }
    } catch (error) {
      await close(client)
      throw error
    }
    if (this.#closed) return close(client)
    client.on('error', () => this.#lose(client))
    client.on('end', () => this.#lose(client))
    holdProcess(client, false)
    this.#client = client
    this.#epoch += 1
    this.#provenAt = performance.now()
    if (this.#epoch > 1) this.listener.back()
  }

  #lose(client: Client): void {
    if (this.#client !== client) return
    this.#client = undefined
    destroy(client)
    if (this.#closed) return
    this.listener.lost()
    void this.#retry()
  }

  /** Tries until it listens again, less and less often. */
  async #retry(): Promise<void> {
    for (let delay = firstRetryMs; !this.#closed && !this.#client; delay = Math.min(delay * 2, longestRetryMs)) {
      try {
        await sleep(delay, undefined, { ref: false, signal: this.#stop.signal })
        await this.#open()
      } catch {
        // The cache lives by its short time to live until then.
      }
    }
  }
}

const listeningText = `SELECT EXISTS (SELECT FROM pg_catalog.pg_listening_channels() AS c WHERE c = '${channel}') AS listening`
