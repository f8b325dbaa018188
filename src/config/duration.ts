import ms from 'ms'
import type { Duration } from './config.ts'

/** PostgreSQL's timeouts and Node's timers both end here, at 24.8 days. */
const longest = 2 ** 31 - 1

export const durationExpected = "a duration such as '5s', or milliseconds, from 0 to 24 days"

/** Milliseconds of `'5s'`, `'2 min'`, `'1h'` or a number; null when it is not a duration. */
export function parseDuration(value: Duration): number | null {
  // ms() throws at the empty text and at one of more than 100 letters.
  if (typeof value === 'string' && !/^.{1,40}$/.test(value.trim())) return null
  const milliseconds = typeof value === 'number' ? value : ms(value.trim() as ms.StringValue)
  // What is not a duration comes out of ms() as undefined or NaN.
  const valid = Number.isFinite(milliseconds) && milliseconds >= 0 && milliseconds <= longest
  return valid ? Math.round(milliseconds) : null
}

const longestRetention = 10 * 365.25 * 24 * 60 * 60 * 1000

export const retentionExpected = "a length of time such as '7d', from one second to 10 years"

/** The same for how long data is kept, which may be longer than any timer. */
export function parseRetention(value: unknown): number | null {
  if (typeof value === 'string' && !/^.{1,40}$/.test(value.trim())) return null
  const milliseconds = typeof value === 'string' ? ms(value.trim() as ms.StringValue) : value
  if (typeof milliseconds !== 'number') return null
  return milliseconds >= 1_000 && milliseconds <= longestRetention ? Math.round(milliseconds) : null
}
