import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import * as api from '../src/index.ts'

/** Names can be added here; one that goes, or changes its meaning, breaks somebody's code. */
test('the values that the package exports', () => {
  expect(Object.keys(api).sort()).toMatchInlineSnapshot(`
    [
      "Secret",
      "TenancyError",
      "asTenancyError",
      "createTenancy",
      "currentConnection",
      "currentTenant",
      "defineConfig",
      "effectiveSettings",
      "embeddedServer",
      "errorCodes",
      "generateEncryptionKey",
      "isTenancyError",
      "loadConfig",
      "parseDuration",
      "resolveConfig",
    ]
  `)
})

test('the types that it exports', () => {
  const source = readFileSync(new URL('../src/index.ts', import.meta.url), 'utf8')
  const types = [...source.matchAll(/export (type )?\{([^}]*)\}/g)].flatMap(([, type, names = '']) =>
    names.split(',').flatMap(name => {
      const trimmed = name.trim()
      if (trimmed === '') return []
      return type || trimmed.startsWith('type ') ? [trimmed.replace(/^type /, '')] : []
    }),
  )
  expect(types.sort()).toMatchInlineSnapshot(`
    [
      "CheckResult",
      "CheckStatus",
      "ConnectionInfo",
      "ConnectionStats",
      "CreateInput",
      "CreatedTenant",
      "DoctorOptions",
      "DoctorResult",
      "Domain",
      "DriftReport",
      "DropOptions",
      "Duration",
      "EmbeddedServer",
      "EmbeddedStatus",
      "EncryptionKeys",
      "EncryptionProvider",
      "ErrorCode",
      "ErrorReport",
      "FailureGroup",
      "FailureSummary",
      "FillPoolOptions",
      "FleetCommand",
      "FleetOptions",
      "FleetResult",
      "FleetSummary",
      "Hooks",
      "InputProblem",
      "Job",
      "JobFilter",
      "JobKind",
      "JobState",
      "KeyFailure",
      "KeyRotation",
      "KeyRotationOptions",
      "KeyUse",
      "Labels",
      "LintFinding",
      "ListOptions",
      "Listener",
      "MigrateOptions",
      "Operation",
      "OperationFilter",
      "OperationKind",
      "OperationStep",
      "PendingPlan",
      "PgBouncerOptions",
      "PgBouncerSetup",
      "PlanFile",
      "PlanOptions",
      "PoolFilling",
      "PoolOptions",
      "PoolStatus",
      "PurgeOptions",
      "QueuedMigrateOptions",
      "QueuedRun",
      "RemovedLeftover",
      "RepairOptions",
      "RepairResult",
      "ResolvedConfig",
      "RestoreInput",
      "RetainedTenant",
      "RollbackOptions",
      "RolloutOptions",
      "RotatePasswordOptions",
      "Run",
      "RunDetails",
      "RunFilter",
      "RunOptions",
      "RunStatus",
      "RunTenant",
      "SchemaDifference",
      "SchemaGroup",
      "SeedOptions",
      "Selection",
      "Setting",
      "SizedTenant",
      "Tenancy",
      "TenancyConfig",
      "TenancyEvent",
      "Tenant",
      "TenantContext",
      "TenantDetails",
      "TenantFilter",
      "TenantOutcome",
      "TenantStatus",
      "UndropOptions",
      "UrlOptions",
      "VersionCount",
      "WorkOptions",
    ]
  `)
})

test('what a tenancy can do', () => {
  const tenancy = api.createTenancy({
    registry: { url: 'postgresql://localhost/x' },
    encryption: { keys: [api.generateEncryptionKey()] },
  })
  const methodsOf = (part: object) =>
    [...Object.keys(part), ...Object.getOwnPropertyNames(Object.getPrototypeOf(part))]
      .filter(name => name !== 'constructor' && typeof (part as Record<string, unknown>)[name] === 'function')
      .sort()
  const { tenants, migrations, seeds, connections, domains, operations, pool, registry } = tenancy
  const parts = { tenancy, tenants, migrations, seeds, connections, domains, operations, pool, registry }
  expect(
    Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, methodsOf(part)])),
  ).toMatchInlineSnapshot(`
    {
      "connections": [
        "get",
        "run",
        "stats",
      ],
      "domains": [
        "add",
        "list",
        "remove",
        "resolve",
      ],
      "migrations": [
        "baseline",
        "lint",
        "plan",
        "planFile",
        "rollback",
        "run",
        "status",
        "summary",
      ],
      "operations": [
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
        "hasOwnProperty",
        "isPrototypeOf",
        "list",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
      ],
      "pool": [
        "fill",
        "status",
      ],
      "registry": [
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
        "hasOwnProperty",
        "install",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
      ],
      "seeds": [
        "run",
      ],
      "tenancy": [
        "close",
        "doctor",
        "pgbouncer",
        "repair",
        "run",
      ],
      "tenants": [
        "checkInputs",
        "connectionInfo",
        "create",
        "createMany",
        "describe",
        "drop",
        "get",
        "list",
        "protect",
        "purge",
        "restore",
        "resume",
        "retained",
        "rotatePassword",
        "select",
        "suspend",
        "undrop",
        "unprotect",
        "url",
      ],
    }
  `)
})
