import type { Tenant, TenantStatus } from '../../registry/tenant.ts'
import { formatTime } from './format.ts'
import { clean } from './sanitize.ts'
import type { Style } from './style.ts'

export function statusText(status: TenantStatus, style: Style): string {
  if (status === 'active') return style.good(status)
  return status === 'failed' ? style.bad(status) : style.warn(status)
}

export function labelsText(labels: Tenant['labels']): string {
  return Object.entries(labels)
    .map(([key, value]) => clean(`${key}=${value}`))
    .join(', ')
}

/** Names and values in two columns; entries without a value are left out. */
export function facts(entries: readonly (readonly [string, string | null | undefined])[], style: Style): string {
  const given = entries.filter((entry): entry is readonly [string, string] => Boolean(entry[1]))
  const width = Math.max(...given.map(([name]) => name.length))
  return given.map(([name, value]) => `  ${style.dim(name.padEnd(width))}  ${value}`).join('\n')
}

export function tenantFacts(tenant: Tenant, style: Style): (readonly [string, string | null])[] {
  return [
    ['name', clean(tenant.name)],
    ['id', tenant.id],
    ['status', statusText(tenant.status, style) + (tenant.protected ? ', protected' : '')],
    ['server', clean(tenant.server)],
    ['database', clean(tenant.database)],
    ['username', clean(tenant.username)],
    ['schema', tenant.schemaVersion === null ? style.dim('none') : clean(tenant.schemaVersion)],
    ['labels', labelsText(tenant.labels)],
    ['created', formatTime(tenant.createdAt)],
  ]
}
