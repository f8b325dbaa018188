import type { RegistryConnection } from './connection.ts'
import type { RoleModel } from './roles.ts'
import { serverRow } from './servers.ts'
import type { Tenant } from './tenant.ts'

/** `filling`: being made, or left so by a crash; `taken`: its tenant is being made of it; `removing`: as `filling`. */
type ReadyStatus = 'filling' | 'ready' | 'taken' | 'removing'

/** A tenant of the stock: a database with roles that nobody can enter, and that is no customer's yet. */
export interface ReadyTenant {
  id: string
  server: string
  roles: RoleModel
  /** Name of the template that it is a copy of. */
  template: string
  /** Names of the seeds whose rows came with it. */
  seeds: string[]
  status: ReadyStatus
  madeAt: string
}

type NewReadyTenant = Omit<ReadyTenant, 'status' | 'madeAt'>

const columns = `r.uuid AS id, s.name AS server, r.roles, r.template, r.seeds, r.status, r.made_at AS "madeAt"`
const fromReady = 'tenantctl.ready_tenants r JOIN tenantctl.servers s ON s.id = r.server_id'

/** The stock of ready tenants. Its rows are its journal: written before anything is made, gone after all is removed. */
export class ReadyTenants {
  constructor(private readonly registry: RegistryConnection) {}

  /** Of one server or of all, the oldest first; also those that are being made, taken or removed. */
  list(server?: string): Promise<ReadyTenant[]> {
    return this.#select('listing ready tenants', '$1::text IS NULL OR s.name = $1', [server ?? null])
  }

  /** The one that was taken for a tenant which is not active yet. */
  async takenBy(tenantId: string): Promise<ReadyTenant | undefined> {
    return (await this.#select('looking for what a tenant is made of', 'r.tenant_uuid = $1', [tenantId]))[0]
  }

  async has(id: string): Promise<boolean> {
    return (await this.#select('looking up a ready tenant', 'r.uuid = $1', [id])).length > 0
  }

  /** Writes down that one is about to be made. */
  async begin({ id, server, roles, template, seeds }: NewReadyTenant): Promise<void> {
    await this.registry.query(
      'beginning a ready tenant',
      `WITH server AS (${serverRow('$2')})
       INSERT INTO tenantctl.ready_tenants (uuid, server_id, roles, template, seeds)
       SELECT $1, server.id, $3, $4, $5 FROM server`,
      [id, server, roles, template, seeds],
    )
  }

  /** It is whole: from now on it can be taken. */
  async finish(id: string): Promise<void> {
    await this.registry.query(
      'recording a ready tenant',
      `UPDATE tenantctl.ready_tenants SET status = 'ready', made_at = pg_catalog.now()
        WHERE uuid = $1 AND status = 'filling'`,
      [id],
    )
  }

  /**
   * The one that was taken for a tenant before, or the oldest that is ready and a copy of `template`. Two never get the
   * same one. Undefined when there is none, when no template is named, and for a tenant that an operation before
   * `operationId` has begun to make in another way.
   */
  async take(
    tenant: Pick<Tenant, 'id' | 'server'>,
    template: string | undefined,
    operationId: string,
  ): Promise<ReadyTenant | undefined> {
    const [row] = await this.registry.query<ReadyRow>(
      'taking a ready tenant',
      `WITH before AS (SELECT * FROM tenantctl.ready_tenants WHERE tenant_uuid = $1),
            taken AS (
         UPDATE tenantctl.ready_tenants SET status = 'taken', tenant_uuid = $1
          WHERE uuid = (
            SELECT r.uuid FROM ${fromReady}
             WHERE r.status = 'ready' AND s.name = $2 AND r.template = $3 AND NOT EXISTS (SELECT FROM before)
               AND NOT EXISTS (SELECT FROM tenantctl.operations o WHERE o.tenant_uuid = $1 AND o.id <> $4)
             ORDER BY r.made_at LIMIT 1 FOR UPDATE OF r SKIP LOCKED)
         RETURNING *)
       SELECT ${columns} FROM (SELECT * FROM before UNION ALL SELECT * FROM taken) r
         JOIN tenantctl.servers s ON s.id = r.server_id`,
      [tenant.id, tenant.server, template ?? null, operationId],
    )
    return row && toReady(row)
  }

  /** Nobody can take it any more. Returns false when somebody has, or it is gone. */
  async retire(id: string): Promise<boolean> {
    const rows = await this.registry.query(
      'retiring a ready tenant',
      `UPDATE tenantctl.ready_tenants SET status = 'removing' WHERE uuid = $1 AND status <> 'taken' RETURNING uuid`,
      [id],
    )
    return rows.length > 0
  }

  /** It was taken, and is of no use: its tenant is made in another way, and it waits to be removed. */
  async giveUp(id: string): Promise<void> {
    await this.registry.query(
      'giving up a ready tenant',
      `UPDATE tenantctl.ready_tenants SET status = 'removing', tenant_uuid = NULL WHERE uuid = $1`,
      [id],
    )
  }

  /** What it was is gone from the server. */
  async forget(id: string): Promise<void> {
    await this.registry.query('forgetting a ready tenant', 'DELETE FROM tenantctl.ready_tenants WHERE uuid = $1', [id])
  }

  async #select(doing: string, condition: string, values: unknown[]): Promise<ReadyTenant[]> {
    const text = `SELECT ${columns} FROM ${fromReady} WHERE ${condition} ORDER BY r.made_at, r.uuid`
    return (await this.registry.query<ReadyRow>(doing, text, values)).map(toReady)
  }
}

type ReadyRow = Omit<ReadyTenant, 'madeAt'> & { madeAt: Date }

function toReady(row: ReadyRow): ReadyTenant {
  return { ...row, madeAt: row.madeAt.toISOString() }
}
