import type { RegistryConnection } from './connection.ts'

/** A schema object as it is stored, see drift/catalog.ts. */
interface StoredObject {
  kind: string
  name: string
  definition: string
}

/** Which schemas have been seen, and which tenant had which one last. */
export class SchemaFingerprints {
  constructor(private readonly registry: RegistryConnection) {}

  /** Notes what a tenant has; false when that schema is new and has to be told with `add` first. */
  async note(tenantId: string, fingerprint: string): Promise<boolean> {
    const rows = await this.registry.query(
      'noting a fingerprint',
      `UPDATE tenantctl.tenants SET schema_fingerprint = $2, fingerprinted_at = pg_catalog.now()
        WHERE uuid = $1 AND EXISTS (SELECT FROM tenantctl.schema_fingerprints WHERE fingerprint = $2) RETURNING uuid`,
      [tenantId, fingerprint],
    )
    return rows.length > 0
  }

  async add(fingerprint: string, objects: readonly StoredObject[]): Promise<void> {
    await this.registry.query(
      'storing a schema',
      'INSERT INTO tenantctl.schema_fingerprints (fingerprint, objects) VALUES ($1, $2) ON CONFLICT DO NOTHING',
      [fingerprint, JSON.stringify(objects)],
    )
  }

  async objects(fingerprint: string): Promise<StoredObject[]> {
    const [row] = await this.registry.query<{ objects: StoredObject[] }>(
      'reading a schema',
      'SELECT objects FROM tenantctl.schema_fingerprints WHERE fingerprint = $1',
      [fingerprint],
    )
    return row?.objects ?? []
  }
}
