import type { RegistryConnection } from './connection.ts'
import { serverRow } from './servers.ts'

/** All that decides what a template holds. Two that differ in anything have different names. */
export interface TemplateContents {
  /** Counted up when the same files come to make something else. */
  layout: number
  registry: string
  /** The admin's role, and whether it is a superuser. */
  admin: [string, boolean]
  /** Of PostgreSQL. */
  major: number
  roles: string
  historySchema: string
  extensions: readonly string[]
  /** Name of the file, and checksum. */
  migrations: [string, string][]
  seeds: [string, string][]
  /** A hash of the files that they may import. */
  companions: string
}

/** What the template databases of the servers were built of. Told to people alone; nothing is decided by it. */
export class BuiltTemplates {
  constructor(private readonly registry: RegistryConnection) {}

  async record(server: string, name: string, madeOf: TemplateContents): Promise<void> {
    await this.registry.query(
      'recording a template',
      `WITH server AS (${serverRow('$1')})
       INSERT INTO tenantctl.built_templates (server_id, name, made_of) SELECT server.id, $2, $3 FROM server
       ON CONFLICT (server_id, name) DO UPDATE SET made_of = EXCLUDED.made_of, built_at = pg_catalog.now()`,
      [server, name, JSON.stringify(madeOf)],
    )
  }

  /** By name. One whose builder died at the very end is missing. */
  async list(server: string): Promise<Map<string, { madeOf: TemplateContents; builtAt: string }>> {
    const rows = await this.registry.query<{ name: string; madeOf: TemplateContents; builtAt: Date }>(
      'listing templates',
      `SELECT t.name, t.made_of AS "madeOf", t.built_at AS "builtAt"
         FROM tenantctl.built_templates t JOIN tenantctl.servers s ON s.id = t.server_id WHERE s.name = $1`,
      [server],
    )
    return new Map(rows.map(({ name, madeOf, builtAt }) => [name, { madeOf, builtAt: builtAt.toISOString() }]))
  }

  async forget(server: string, name: string): Promise<void> {
    await this.registry.query(
      'forgetting a template',
      `DELETE FROM tenantctl.built_templates t USING tenantctl.servers s
        WHERE s.id = t.server_id AND s.name = $1 AND t.name = $2`,
      [server, name],
    )
  }
}
