/*
 * COMMENT ON DATABASE and COMMENT ON ROLE of what was made for a tenant: only who has rights over it can write one.
 * What has none is not ours, whatever its name.
 */

/** Begins the marker of everything that was made for a tenant, whichever registry's. */
export const markerStart = 'tenantctl '

export function markerOf(registryId: string, tenantId: string): string {
  return `${markerStart}${registryId} ${tenantId}`
}

export interface TenantMarker {
  registryId: string
  tenantId: string
}

/** Which registry and which tenant a marker names; undefined for one that is none of tenantctl's. */
export function readMarker(marker: string | null): TenantMarker | undefined {
  const [, registryId, tenantId] = /^tenantctl ([0-9a-f-]{36}) ([0-9a-f-]{36})$/.exec(marker ?? '') ?? []
  return registryId && tenantId ? { registryId, tenantId } : undefined
}
