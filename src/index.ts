export { type Duration, defineConfig, type ResolvedConfig, type TenancyConfig } from './config/config.ts'
export { parseDuration } from './config/duration.ts'
export { loadConfig } from './config/file.ts'
export type { Hooks } from './config/hooks.ts'
export type { Setting } from './config/settings.ts'
export { effectiveSettings, resolveConfig } from './config/sources.ts'
export type { ConnectionStats } from './connections/tenant-connections.ts'
export { currentConnection, currentTenant, type TenantContext } from './context/tenant-context.ts'
export type { CheckResult, CheckStatus, DoctorResult } from './doctor/finding.ts'
export type { SchemaDifference } from './drift/compare.ts'
export { type EmbeddedServer, type EmbeddedStatus, embeddedServer } from './embedded/server.ts'
export {
  asTenancyError,
  type ErrorCode,
  type ErrorReport,
  errorCodes,
  isTenancyError,
  TenancyError,
} from './errors.ts'
export type { FleetCommand, Listener, TenancyEvent } from './events.ts'
export type { FailureGroup, FleetResult, TenantOutcome } from './fleet/result.ts'
export type { RolloutOptions } from './fleet/rollout.ts'
export type { Selection, TenantFilter } from './fleet/selection.ts'
export type { LintFinding } from './lint/lint.ts'
export type { CreatedTenant, CreateInput, RunOptions } from './provisioning/create.ts'
export type { PoolFilling, PoolStatus } from './provisioning/fill-pool.ts'
export type { RestoreInput } from './provisioning/restore.ts'
export type { UndropOptions } from './provisioning/undrop.ts'
export type { Job, JobFilter, JobKind, JobState } from './queue/job.ts'
export type { Domain } from './registry/domain-registry.ts'
export type { Operation, OperationKind, OperationStep } from './registry/operation.ts'
export type { OperationFilter } from './registry/operation-journal.ts'
export type { RetainedTenant } from './registry/retained-tenants.ts'
export type { Run, RunDetails, RunFilter, RunStatus, RunTenant } from './registry/run.ts'
export type { KeyFailure, KeyRotation } from './registry/sealed-passwords.ts'
export type { Labels, Tenant, TenantStatus } from './registry/tenant.ts'
export { generateEncryptionKey } from './secrets/cipher.ts'
export type { EncryptionProvider } from './secrets/provider.ts'
export { Secret } from './secrets/secret.ts'
export type { InputProblem } from './tenancy/create-many.ts'
export type { DoctorOptions } from './tenancy/doctor.ts'
export type { DriftReport, SchemaGroup } from './tenancy/drift.ts'
export type { FleetOptions } from './tenancy/fleet.ts'
export type { EncryptionKeys, KeyRotationOptions, KeyUse } from './tenancy/keys.ts'
export type { PurgeOptions, RotatePasswordOptions } from './tenancy/lifecycle.ts'
export type { MigrateOptions, RollbackOptions } from './tenancy/migrations.ts'
export type { PgBouncerOptions, PgBouncerSetup } from './tenancy/pgbouncer.ts'
export type { PendingPlan, PlanFile, PlanOptions } from './tenancy/plan.ts'
export type { FillPoolOptions, PoolOptions } from './tenancy/pool.ts'
export type { QueuedRun, WorkOptions } from './tenancy/queue.ts'
export type { QueuedMigrateOptions } from './tenancy/queued-migration.ts'
export type { RemovedLeftover, RepairOptions, RepairResult } from './tenancy/repair.ts'
export type { SeedOptions } from './tenancy/seeds.ts'
export type { SizedTenant } from './tenancy/sizes.ts'
export type { FailureSummary, FleetSummary, VersionCount } from './tenancy/summary.ts'
export { createTenancy, type Tenancy } from './tenancy/tenancy.ts'
export type {
  ConnectionInfo,
  DropOptions,
  ListOptions,
  TenantDetails,
  UrlOptions,
} from './tenancy/tenants.ts'
