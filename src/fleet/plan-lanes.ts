import { Lane, type Task } from './lanes.ts'
import type { RolloutOptions } from './rollout.ts'

/** Connections that a server has to spare, or undefined when that cannot be told. */
export type ServerCapacity = (server: string) => Promise<number | undefined>

/** Where the search for the best number begins: few hundred small databases are done before a lower one is left. */
const start = 8
/** For so few the question of what the server can spare would cost more than its answer saves. */
const handful = 4
/** Of a server that does not tell: what the smallest ones on offer can spare. */
const unknownCapacity = 20
/** Beyond this one process in JavaScript is the bottleneck. */
const most = 64

/** The highest number that `planLanes` gives a server of which it has so many tenants. */
export function mostAtOnce({ concurrency, concurrencyPerServer }: RolloutOptions, count: number): number {
  return concurrencyPerServer ?? concurrency ?? (count <= handful ? handful : most)
}

/** A queue for each server, and how many tenants may run at once over all of them. */
export async function planLanes<T>(
  tasks: readonly Task<T>[],
  serverOf: ((item: T) => string) | undefined,
  options: RolloutOptions,
  capacity: ServerCapacity | undefined,
  tell: (lane: Lane<T>, reason: string) => void,
): Promise<{ lanes: Lane<T>[]; total: number }> {
  const counts = new Map<string, number>()
  for (const { item } of tasks) {
    const server = serverOf?.(item) ?? ''
    counts.set(server, (counts.get(server) ?? 0) + 1)
  }
  const isGiven = (options.concurrencyPerServer ?? options.concurrency) !== undefined
  const lanes = await Promise.all(
    [...counts].map(async ([server, count]) => {
      const limit = mostAtOnce(options, count)
      if (isGiven || count <= handful) return new Lane<T>(server, { start: limit, max: limit })
      const free = await capacity?.(server)
      const max = Math.max(1, Math.min(limit, free ?? unknownCapacity))
      const lane = new Lane<T>(server, { start, max })
      tell(lane, free === undefined ? 'to begin with' : `to begin with; the server has ${free} connections to spare`)
      return lane
    }),
  )
  return { lanes, total: options.concurrency ?? Number.POSITIVE_INFINITY }
}
