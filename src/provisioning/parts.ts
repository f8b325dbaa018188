import type { ResolvedConfig } from '../config/config.ts'
import type { Migration, Seed } from '../migrations/source.ts'
import type { AdminSessions } from '../postgres/admin-sessions.ts'
import type { BuiltTemplates } from '../registry/built-templates.ts'
import type { FileChecksums } from '../registry/file-checksums.ts'
import type { RegistryInventory } from '../registry/inventory.ts'
import type { OperationJournal } from '../registry/operation-journal.ts'
import type { ReadyTenants } from '../registry/ready-tenants.ts'
import type { RefusedTemplates } from '../registry/refused-templates.ts'
import type { RetainedTenants } from '../registry/retained-tenants.ts'
import type { SealedPasswords } from '../registry/sealed-passwords.ts'
import type { Servers } from '../registry/servers.ts'
import type { TenantPasswords } from '../registry/tenant-passwords.ts'
import type { TenantRegistry } from '../registry/tenant-registry.ts'
import type { UnfinishedOperations } from '../registry/unfinished.ts'

/** What provisioning is made of; built once in tenancy.ts. */
export interface ProvisioningParts {
  /** Tells our databases and roles from those of another registry on the same server. */
  registryId: string
  registry: TenantRegistry
  checksums: FileChecksums
  /** Tombstones: dropped tenants whose data is still there. */
  retained: RetainedTenants
  /** Passwords that are being changed. */
  passwords: TenantPasswords
  sealed: SealedPasswords
  journal: OperationJournal
  unfinished: UnfinishedOperations
  inventory: RegistryInventory
  servers: Servers
  admins: AdminSessions
  config: ResolvedConfig
  migrations(): Promise<Migration[]>
  seeds(): Promise<Seed[]>
  /** A hash of the other files beside migrations and seeds, which these may import or read. */
  companions(): Promise<string>
  builtTemplates: BuiltTemplates
  refusedTemplates: RefusedTemplates
  /** The stock. */
  ready: ReadyTenants
}
