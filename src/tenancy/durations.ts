import { parseDuration } from '../config/duration.ts'
import { TenancyError } from '../errors.ts'

/** `'5s'` or a number as milliseconds; undefined stays undefined. Throws `USAGE`. */
export function readDuration(option: string, value: string | number | undefined): number | undefined {
  if (value === undefined) return undefined
  const milliseconds = parseDuration(value)
  if (milliseconds !== null) return milliseconds
  throw new TenancyError('USAGE', `${option}: expected a duration such as 5s, found ${JSON.stringify(value)}`)
}
