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
      "ConnectionInfo",
      "CreateInput",
      "CreatedTenant",
      "DropOptions",
      "Duration",
      "EmbeddedServer",
      "EmbeddedStatus",
      "EncryptionKeys",
      "EncryptionProvider",
      "ErrorCode",
      "ErrorReport",
      "FleetCommand",
      "FleetOptions",
      "FleetResult",
      "KeyFailure",
      "KeyRotation",
      "KeyRotationOptions",
      "KeyUse",
      "Labels",
      "ListOptions",
      "Listener",
      "MigrateOptions",
      "Operation",
      "OperationFilter",
      "OperationKind",
      "OperationStep",
      "PendingPlan",
      "PurgeOptions",
      "ResolvedConfig",
      "RetainedTenant",
      "RolloutOptions",
      "RotatePasswordOptions",
      "RunOptions",
      "SeedOptions",
      "Selection",
      "Setting",
      "SizedTenant",
      "Tenancy",
      "TenancyConfig",
      "TenancyEvent",
      "Tenant",
      "TenantDetails",
      "TenantFilter",
      "TenantOutcome",
      "TenantStatus",
      "UndropOptions",
      "UrlOptions",
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
  const { tenants, migrations, seeds, connections, operations, registry } = tenancy
  const parts = { tenancy, tenants, migrations, seeds, connections, operations, registry }
  expect(
    Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, methodsOf(part)])),
  ).toMatchInlineSnapshot(`
    {
      "connections": [
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
        "get",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
      ],
      "migrations": [
        "lint",
        "plan",
        "rollback",
        "run",
        "status",
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
      ],
      "tenants": [
        "connectionInfo",
        "create",
        "createMany",
        "describe",
        "drop",
        "get",
        "list",
        "protect",
        "purge",
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
