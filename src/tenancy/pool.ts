import { setTimeout as sleep } from 'node:timers/promises'
import { asTenancyError, TenancyError } from '../errors.ts'
import { type Listener, notify } from '../events.ts'
import { fillPool, type PoolFilling, type PoolStatus, poolStatus } from '../provisioning/fill-pool.ts'
import type { LazyParts, Parts } from './parts.ts'

const mostReady = 1000

/** Which part of the stock, and how to end the work. */
export interface PoolOptions {
  /** One server alone. Default: all that are configured. */
  server?: string | undefined
  signal?: AbortSignal | undefined
}

/** How full, and how to follow it. */
export interface FillPoolOptions extends PoolOptions {
  /** How many there shall be on each server, this time; 0 empties the stock. Default: `pool.size`. */
  size?: number | undefined
  onEvent?: Listener | undefined
}

/** The stock of ready tenants, of which `tenants.create` makes new ones in the time of a few catalog updates. */
export class ReadyPool {
  /** @internal */
  constructor(private readonly parts: LazyParts) {}

  /**
   * Makes the stock be of its size: makes what is missing, removes what is too much or a copy of an older state of the
   * files. Throws `SERVER_NOT_FOUND`, `TENANT_LOCKED`, or `PROVISIONING_FAILED` when there is no template to copy; what
   * was made by then stays, and the other servers are filled all the same.
   */
  async fill(options: FillPoolOptions = {}): Promise<PoolFilling[]> {
    const parts = await this.parts.get()
    const { pool } = parts.config
    const size = options.size ?? pool.size
    if (!Number.isInteger(size) || size < 0 || size > mostReady) {
      throw new TenancyError('USAGE', `size: expected a whole number from 0 to ${mostReady}`)
    }
    if (size > 0 && pool.size === 0) {
      throw new TenancyError('USAGE', 'the stock would not be used: pool.size is 0 in the configuration', {
        hint: 'set pool: { size } there; `tenantctl create` then takes from the stock',
      })
    }
    const { signal, onEvent = parts.config.onEvent } = options
    return eachServer(parts.servers.names, options.server, async server => {
      const filled = await fillPool(parts, server, { size, staleAfterMs: 0, signal, onEvent })
      return { ...(await poolStatus(parts, server, { size, signal, onEvent })), ...filled }
    })
  }

  /** What is in stock on each server. Throws `SERVER_NOT_FOUND`. */
  async status(options: PoolOptions = {}): Promise<PoolStatus[]> {
    const parts = await this.parts.get()
    const { size } = parts.config.pool
    return eachServer(parts.servers.names, options.server, server =>
      poolStatus(parts, server, { size, signal: options.signal }),
    )
  }
}

/** One after the other; the first failure is thrown when all have had their turn. */
async function eachServer<T>(
  names: readonly string[],
  only: string | undefined,
  work: (server: string) => Promise<T>,
): Promise<T[]> {
  const results: T[] = []
  const failures: unknown[] = []
  for (const server of only === undefined ? names : [only]) {
    await work(server).then(
      result => results.push(result),
      error => failures.push(error),
    )
  }
  if (failures.length > 0) throw failures[0]
  return results
}

const refillMs = 10_000
/** While a new version is rolled out, workers of both fill the stock, and must not remove what the other has made. */
const staleAfterMs = 3_600_000

/** Fills the stock of all servers again and again until the signal fires; what is being made then is finished. */
export async function keepFilled(
  parts: Parts,
  { signal, onEvent }: { signal: AbortSignal; onEvent?: Listener | undefined },
): Promise<void> {
  const { size } = parts.config.pool
  const problems = new Map<string, string>()
  const tell = noticesOnce(onEvent)
  while (size > 0 && !signal.aborted) {
    for (const server of parts.servers.names) {
      try {
        await fillPool(parts, server, { size, staleAfterMs, waitMs: 0, drain: signal, onEvent: tell })
        problems.delete(server)
      } catch (error) {
        const { code, message } = asTenancyError(error)
        // Another worker is at it; and what does not change is told once.
        if (code === 'TENANT_LOCKED' || problems.get(server) === message) continue
        problems.set(server, message)
        notify(onEvent, { event: 'notice', message: `the stock of server "${server}" is not full: ${message}` })
      }
    }
    await sleep(refillMs, undefined, { signal }).catch(() => undefined)
  }
}

/** What is noticed in every round is told in the first. */
function noticesOnce(listener: Listener | undefined): Listener {
  const told = new Set<string>()
  return event => {
    if (event.event === 'notice' && told.has(event.message)) return
    if (event.event === 'notice') told.add(event.message)
    listener?.(event)
  }
}
