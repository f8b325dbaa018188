import { type Listener, notify } from '../events.ts'
import type { Tenant } from '../registry/tenant.ts'

/** How many tenants of a server are logged in as. */
export type Sample = number | 'all'

const defaultSample = 20
const concurrency = 4

/** At random, so that in time everybody's turn comes. */
export function chooseSample<T>(items: readonly T[], sample: Sample = defaultSample): T[] {
  if (sample === 'all') return [...items]
  const rest = [...items]
  const chosen: T[] = []
  while (chosen.length < sample && rest.length > 0) {
    chosen.push(...rest.splice(Math.floor(Math.random() * rest.length), 1))
  }
  return chosen
}

export async function inParallel<T extends Tenant>(
  tenants: readonly T[],
  work: (tenant: T) => Promise<void>,
  onEvent: Listener | undefined,
): Promise<void> {
  notify(onEvent, { event: 'fleet_started', command: 'doctor', total: tenants.length, concurrency })
  const queue = [...tenants]
  const worker = async () => {
    for (let tenant = queue.shift(); tenant; tenant = queue.shift()) {
      const startedAt = performance.now()
      await work(tenant)
      const durationMs = Math.round(performance.now() - startedAt)
      notify(onEvent, { event: 'tenant_finished', tenant: tenant.slug, status: 'checked', durationMs })
    }
  }
  await Promise.all(Array.from({ length: Math.min(concurrency, tenants.length) }, worker))
}
