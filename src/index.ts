export {
  type Duration,
  defineConfig,
  type Pooler,
  type RegistryConfig,
  type ResolvedConfig,
  type TenancyConfig,
  type TenantIdentity,
} from './config/config.ts'
export { parseDuration } from './config/duration.ts'
export { loadConfig } from './config/file.ts'
export type { Hooks } from './config/hooks.ts'
export type { Environment } from './config/libpq.ts'
export type { Setting } from './config/settings.ts'
export { type ConfigFlags, type ConfigInput, effectiveSettings, resolveConfig } from './config/sources.ts'
export type { ConnectionStats } from './connections/tenant-connections.ts'
export { currentConnection, currentTenant, type TenantContext } from './context/tenant-context.ts'
export type { CheckResult, CheckStatus, DoctorResult } from './doctor/finding.ts'
export type { Sample } from './doctor/sample.ts'
export type { SchemaDifference } from './drift/compare.ts'
export { type EmbeddedServer, type EmbeddedStatus, embeddedServer } from './embedded/server.ts'
export {
  asTenancyError,
  type ErrorCode,
  type ErrorFacts,
  type ErrorReport,
  errorCodes,
  isTenancyError,
  TenancyError,
} from './errors.ts'
export type { FleetCommand, Listener, TenancyEvent } from './events.ts'
export type { ChangedStatus, FailureGroup, FleetResult, TenantOutcome } from './fleet/result.ts'
export type { RolloutOptions } from './fleet/rollout.ts'
export type { Selection, TenantFilter } from './fleet/selection.ts'
export type { LintFinding } from './lint/lint.ts'
export type { ErrorClass } from './postgres/sqlstate.ts'
export type { CreatedTenant, CreateInput, RunOptions } from './provisioning/create.ts'
export type { PoolFilling, PoolStatus } from './provisioning/fill-pool.ts'
export type { RestoreInput } from './provisioning/restore.ts'
export type { UndropOptions } from './provisioning/undrop.ts'
export type { Job, JobFilter, JobKind, JobState } from './queue/job.ts'
export type { Domain } from './registry/domain-registry.ts'
export type { Operation, OperationKind, OperationStatus, OperationStep } from './registry/operation.ts'
export type { OperationFilter } from './registry/operation-journal.ts'
export type { RetainedTenant } from './registry/retained-tenants.ts'
export type { RoleModel } from './registry/roles.ts'
export type { Run, RunDetails, RunFilter, RunStatus, RunTenant } from './registry/run.ts'
export type { KeyFailure, KeyRotation } from './registry/sealed-passwords.ts'
export type { Labels, Tenant, TenantStatus } from './registry/tenant.ts'
export type { TenantLogin } from './registry/tenant-registry.ts'
export { generateEncryptionKey } from './secrets/cipher.ts'
export type { EncryptionProvider } from './secrets/provider.ts'
export { Secret } from './secrets/secret.ts'
export type { ConfirmedOptions } from './tenancy/confirmed.ts'
export type { Connections } from './tenancy/connections.ts'
export type { InputProblem } from './tenancy/create-many.ts'
export type { DoctorOptions } from './tenancy/doctor.ts'
export type { Domains } from './tenancy/domains.ts'
export type { DriftReport, SchemaGroup, TenantDrift } from './tenancy/drift.ts'
export type { FleetOptions } from './tenancy/fleet.ts'
export type { EncryptionKeys, KeyRotationOptions, KeyUse } from './tenancy/keys.ts'
export type { PurgeOptions, RotatePasswordOptions } from './tenancy/lifecycle.ts'
export type { MigrateOptions, RollbackOptions, TenantMigrations } from './tenancy/migrations.ts'
export type { PgBouncerOptions, PgBouncerSetup } from './tenancy/pgbouncer.ts'
export type { PendingPlan, PlanFile, PlanOptions } from './tenancy/plan.ts'
export type { FillPoolOptions, PoolOptions, ReadyPool } from './tenancy/pool.ts'
export type { QueuedRun, TenantQueue, WorkOptions } from './tenancy/queue.ts'
export type { QueuedMigrateOptions } from './tenancy/queued-migration.ts'
export type { RemovedLeftover, RepairOptions, RepairResult } from './tenancy/repair.ts'
export type { SeedOptions, TenantSeeds } from './tenancy/seeds.ts'
export type { SizedTenant } from './tenancy/sizes.ts'
export type { FailureSummary, FleetSummary, VersionCount } from './tenancy/summary.ts'
export { createTenancy, type Tenancy } from './tenancy/tenancy.ts'
export type { ConnectionInfo, DropOptions, ListOptions, TenantDetails, Tenants, UrlOptions } from './tenancy/tenants.ts'
