import type { RegistryConnection } from './connection.ts'
import { serverRow } from './servers.ts'

/** How long a failure that may pass keeps a process from trying again. */
const patienceMs = 60_000

/**
 * Template databases that are of no use, by server and name; the name follows from what is in it. That one is refused
 * for what its migrations or seeds do stands in the registry; that one could not be built, in memory and for a while.
 */
export class RefusedTemplates {
  readonly #failures = new Map<string, { reason: string; until: number }>()

  constructor(private readonly registry: RegistryConnection) {}

  /** Why not, or undefined. */
  async reason(server: string, name: string): Promise<string | undefined> {
    const failure = this.#failures.get(`${server} ${name}`)
    if (failure && failure.until > Date.now()) return failure.reason
    const [row] = await this.registry.query<{ reason: string }>(
      'looking up a template',
      `SELECT r.reason FROM tenantctl.refused_templates r JOIN tenantctl.servers s ON s.id = r.server_id
        WHERE s.name = $1 AND r.name = $2`,
      [server, name],
    )
    return row?.reason
  }

  /** For good: another change of the files makes another template. */
  async refuse(server: string, name: string, reason: string): Promise<void> {
    await this.registry.query(
      'refusing a template',
      `WITH server AS (${serverRow('$1')})
       INSERT INTO tenantctl.refused_templates (server_id, name, reason) SELECT server.id, $2, $3 FROM server
       ON CONFLICT (server_id, name) DO UPDATE SET reason = EXCLUDED.reason, refused_at = pg_catalog.now()`,
      [server, name, reason],
    )
  }

  /** For this process, and a minute. */
  async failed(server: string, name: string, reason: string): Promise<void> {
    this.#failures.set(`${server} ${name}`, { reason, until: Date.now() + patienceMs })
  }

  /** Those of a server but these, which may still be wanted. */
  async forgetOthers(server: string, names: readonly string[]): Promise<void> {
    await this.registry.query(
      'forgetting templates',
      `DELETE FROM tenantctl.refused_templates r USING tenantctl.servers s
        WHERE s.id = r.server_id AND s.name = $1 AND r.name <> ALL ($2::text[])`,
      [server, names],
    )
  }
}
