export const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/**
 * SQL that gives a time as JavaScript's `toISOString()` would, whatever `DateStyle` and `TimeZone` are: to parse a time
 * and to write it again takes longer than all the rest of reading a row.
 */
export function isoTime(column: string): string {
  return `pg_catalog.to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`
}

/** The columns that make a `Tenant`, by the names that they have in it: a row is one. */
export const tenantColumns = `t.uuid AS id, t.slug, t.name, t.status, s.name AS server, t.db_name AS database,
  t.db_username AS username, t.schema_version AS "schemaVersion", t.labels, t.roles, t.protected,
  ${isoTime('t.created_at')} AS "createdAt", ${isoTime('t.updated_at')} AS "updatedAt"`

export const fromTenants = 'FROM tenantctl.tenants t JOIN tenantctl.servers s ON s.id = t.server_id'
