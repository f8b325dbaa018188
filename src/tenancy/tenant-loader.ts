import type { FleetRegistry, LoadedTenant, Visited } from '../registry/fleet-registry.ts'

/** Read at once: fewer would ask too often, and of more the last would be old when their turn comes. */
const ahead = 32

/**
 * Hands out the rows of tenants as their visits begin. They are read a few dozen at a time in the order of the queue,
 * so that a run over thousands of tenants neither asks for each one nor holds all of them.
 */
export class TenantLoader {
  readonly #loading = new Map<string, Promise<LoadedTenant | undefined>>()
  #next = 0

  constructor(
    private readonly fleet: FleetRegistry,
    private readonly queue: readonly Visited[],
  ) {}

  /** Undefined for one that is gone. */
  async get({ id }: Visited): Promise<LoadedTenant | undefined> {
    if (!this.#loading.has(id)) this.#read(id)
    const tenant = this.#loading.get(id)
    this.#loading.delete(id)
    return await tenant
  }

  /** As it is now. */
  async reload(id: string): Promise<LoadedTenant | undefined> {
    return (await this.fleet.load([id])).get(id)
  }

  #read(id: string): void {
    const ids = new Set([id])
    for (; ids.size < ahead && this.#next < this.queue.length; this.#next += 1) {
      ids.add((this.queue[this.#next] as Visited).id)
    }
    const rows = this.fleet.load([...ids])
    for (const each of ids) {
      const tenant = rows.then(found => found.get(each))
      // Whoever asks for it learns of the failure; the others ask again.
      tenant.catch(() => this.#loading.delete(each))
      this.#loading.set(each, tenant)
    }
  }
}
