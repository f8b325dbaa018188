import { TenancyError } from '../errors.ts'

/** How a fleet command goes about its tenants. */
export interface RolloutOptions {
  /** Tenants worked on at once. */
  concurrency?: number | undefined
  /** So many tenants, or such a share (`'5%'`), come first; the others only when all of these passed. Default: none. */
  canary?: number | string | undefined
  /** Failed tenants, or such a share, after which no further one is begun. Default: 10 %, but at least 5. */
  maxFailures?: number | string | undefined
  /** Further attempts after an error that may pass by itself, such as a lock timeout. Default: 2. */
  retries?: number | undefined
}

export interface Rollout {
  canary: number
  maxFailures: number
  retries: number
}

const leastFailures = 5

/** The numbers behind the options, for a fleet of `total` tenants. Throws `USAGE`. */
export function planRollout(total: number, options: RolloutOptions): Rollout {
  refuseUnlessWhole('concurrency', options.concurrency, 1)
  refuseUnlessWhole('retries', options.retries, 0)
  const canary = options.canary === undefined ? 0 : Math.min(total, shareOf(total, options.canary, 'canary'))
  const maxFailures =
    options.maxFailures === undefined
      ? Math.max(leastFailures, Math.floor(total / 10))
      : shareOf(total, options.maxFailures, 'maxFailures')
  return { canary, maxFailures, retries: options.retries ?? 2 }
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
