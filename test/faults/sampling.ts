/** How much of a sweep is run, and which part: by a seed that is printed, so that a failure can be had again. */

/**
 * TENANTCTL_FAULTS       `all`: every case of every sweep; a number: so many times the cases of a usual run (1)
 * TENANTCTL_FAULTS_SEED  the seed of an earlier run
 */
const wanted = process.env.TENANTCTL_FAULTS ?? '1'

export const everything = wanted === 'all'

export const factor = everything ? 1 : Number(wanted)

export const seed = Number(process.env.TENANTCTL_FAULTS_SEED ?? Math.floor(Math.random() * 2 ** 31))

/** mulberry32: small, and the same everywhere. */
export function randomFrom(start: number): () => number {
  let state = start >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** All cases, or as many as asked for: spread over the whole, each chosen at random from its part. */
export function sample<T>(cases: readonly T[], count: number, name: string): T[] {
  const size = Math.min(cases.length, Math.round(count * factor))
  if (everything || size === cases.length) return [...cases]
  const random = randomFrom(seed + name.length * 7919 + name.charCodeAt(0))
  const part = cases.length / size
  return Array.from({ length: size }, (_, index) => cases[Math.floor((index + random()) * part)] as T)
}

export function announce(what: string): void {
  console.info(`${what}: TENANTCTL_FAULTS=${wanted} TENANTCTL_FAULTS_SEED=${seed}`)
}

/** Runs `work` on all items, a few at a time, in their order. */
export async function eachOf<T>(items: readonly T[], width: number, work: (item: T) => Promise<void>): Promise<void> {
  const left = items.values()
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (const item of left) await work(item)
    }),
  )
}
