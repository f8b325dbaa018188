import type { Duration } from '../config/config.ts'
import { parseDuration, parseRetention, retentionExpected } from '../config/duration.ts'
import { TenancyError } from '../errors.ts'

/** `'5s'` or a number as milliseconds; undefined stays undefined. Throws `USAGE`. */
export function readDuration(option: string, value: string | number | undefined): number | undefined {
  if (value === undefined) return undefined
  const milliseconds = parseDuration(value)
  if (milliseconds !== null) return milliseconds
  throw new TenancyError('USAGE', `${option}: expected a duration such as 5s, found ${JSON.stringify(value)}`)
}

/** Milliseconds for which a drop keeps the data; undefined: it keeps none. Throws `USAGE`. */
export function readRetention(option: Duration | false | undefined, configured: number | null): number | undefined {
  if (option === undefined) return configured ?? undefined
  if (option === false) return undefined
  const retainMs = parseRetention(option)
  if (retainMs !== null) return retainMs
  throw new TenancyError('USAGE', `retain: expected ${retentionExpected}, found ${JSON.stringify(option)}`)
}
