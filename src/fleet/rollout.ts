import { TenancyError } from '../errors.ts'

/** How a fleet command goes about its tenants. */
export interface RolloutOptions {
  /** Tenants worked on at once, over all servers. Default: as many as serve the throughput best. */
  concurrency?: number | undefined
  /** The same on any one server. Default: what `concurrency` allows. */
  concurrencyPerServer?: number | undefined
  /** So many tenants, or such a share (`'5%'`), come first; the others only when all of these passed. Default: none. */
  canary?: number | string | undefined
  /** Milliseconds to wait between the canary group and the others. Default: 0. */
  bakeMs?: number | undefined
  /**
   * Failed tenants, or such a share, after which no further one is begun. Default: 10 %, but at least 5; and none
   * after an error that would meet every tenant, such as a file that is wrong. A number given here is obeyed then, too.
   */
  maxFailures?: number | string | undefined
  /** Further attempts after an error that may pass by itself, such as a lock timeout. Default: 2. */
  retries?: number | undefined
  /** Milliseconds that one tenant may take. Default: as long as it wants. */
  timeoutMs?: number | undefined
  /** Milliseconds that the whole run may take. Default: as long as it wants. */
  runTimeoutMs?: number | undefined
}

export interface Rollout {
  canary: number
  maxFailures: number
  retries: number
}

const leastFailures = 5
const firstDelayMs = 500
const longestDelayMs = 30_000

/** The numbers behind the options, for a fleet of `total` tenants. Throws `USAGE`. */
export function planRollout(total: number, options: RolloutOptions): Rollout {
  refuseUnlessWhole('concurrency', options.concurrency, 1)
  refuseUnlessWhole('concurrencyPerServer', options.concurrencyPerServer, 1)
  refuseUnlessWhole('retries', options.retries, 0)
  const canary = options.canary === undefined ? 0 : Math.min(total, shareOf(total, options.canary, 'canary'))
  const maxFailures =
    options.maxFailures === undefined
      ? Math.max(leastFailures, Math.floor(total / 10))
      : shareOf(total, options.maxFailures, 'maxFailures')
  return { canary, maxFailures, retries: options.retries ?? 2 }
}

/**
 * Milliseconds before the next attempt: anything up to a bound that doubles (full jitter), so that tenants which
 * failed together do not come back together.
 */
export function delayAfter(attempt: number, random: () => number = Math.random): number {
  return Math.round(random() * Math.min(longestDelayMs, firstDelayMs * 2 ** attempt))
}

/** Milliseconds before a server that did not answer is tried again: a restart takes some seconds. */
export function delayOfServer(tries: number, random: () => number = Math.random): number {
  return Math.round((0.5 + random() / 2) * Math.min(longestDelayMs, 2 * firstDelayMs * 2 ** tries))
}

/** `5` or `'5%'` of `total`, rounded up. Throws `USAGE`. */
function shareOf(total: number, value: number | string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)(%?)$/.exec(String(value).trim())
  const number = Number(match?.[1])
  if (!match || (match[2] === '' && !Number.isInteger(number)) || (match[2] === '%' && number > 100)) {
    throw new TenancyError(
      'USAGE',
      `${option}: expected a number or a percentage such as 5%, found ${JSON.stringify(value)}`,
    )
  }
  return match[2] === '%' ? Math.ceil((total * number) / 100) : number
}

function refuseUnlessWhole(option: string, value: number | undefined, least: number): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= least)) return
  throw new TenancyError('USAGE', `${option}: expected a whole number from ${least} on, found ${value}`)
}
