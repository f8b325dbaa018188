import type { ErrorCode, ErrorReport } from '../errors.ts'

/** The table of the command-line contract; 130 and 143 are what a shell shows for SIGINT and SIGTERM. */
type ExitCode = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 130 | 143

/** A `Record`, so that a new error code does not compile until someone has decided how it ends. */
export const exitCodes: Record<ErrorCode, ExitCode> = {
  USAGE: 2,
  CONFIG_INVALID: 2,
  CONFIG_NOT_FOUND: 2,
  NOT_CONFIGURED: 2,
  CONFIRMATION_REQUIRED: 2,
  NAME_INVALID: 2,
  DOMAIN_INVALID: 2,
  INPUT_INVALID: 2,
  ENCRYPTION_KEY_MISSING: 2,
  ENCRYPTION_KEY_INVALID: 2,
  MIGRATIONS_INVALID: 2,
  MIGRATIONS_UNSAFE: 2,
  TOOL_MISSING: 2,
  EMBEDDED_UNAVAILABLE: 2,

  TENANT_NOT_FOUND: 3,
  SERVER_NOT_FOUND: 3,
  MIGRATION_NOT_FOUND: 3,
  SEED_NOT_FOUND: 3,
  JOB_NOT_FOUND: 3,
  DOMAIN_NOT_FOUND: 3,
  RUN_NOT_FOUND: 3,

  TENANT_EXISTS: 4,
  DOMAIN_EXISTS: 4,
  DATABASE_EXISTS: 4,
  ROLE_EXISTS: 4,
  TENANT_NOT_READY: 4,
  TENANT_SUSPENDED: 4,
  TENANT_FAILED: 4,
  TENANT_DROPPING: 4,
  TENANT_PROTECTED: 4,
  TENANT_AMBIGUOUS: 4,
  TENANT_LOCKED: 4,
  TENANT_MISMATCH: 4,
  CONNECTIONS_OPEN: 4,
  OBJECTS_ELSEWHERE: 4,
  FILE_EXISTS: 4,
  MIGRATION_CHANGED: 4,
  MIGRATION_OUT_OF_ORDER: 4,
  MIGRATION_MISSING: 4,
  MIGRATIONS_DIFFER: 4,
  MIGRATIONS_LOCKED: 4,
  REGISTRY_TOO_NEW: 4,
  POOLER_IN_PATH: 4,
  PLAN_STALE: 4,
  RUN_UNSUITABLE: 4,
  COUNT_MISMATCH: 4,
  LIMIT_EXCEEDED: 4,

  PROVISIONING_FAILED: 1,
  MIGRATION_FAILED: 1,
  SEED_FAILED: 1,
  BACKUP_FAILED: 1,
  DECRYPTION_FAILED: 1,
  KEY_SERVICE_FAILED: 1,
  PRIVILEGES_INSUFFICIENT: 1,
  ISOLATION_BROKEN: 1,
  OUT_OF_RESOURCES: 1,
  LOCK_TIMEOUT: 1,
  TENANT_TIMEOUT: 1,
  VERIFY_FAILED: 1,
  STATEMENT_TIMEOUT: 1,
  QUERY_FAILED: 1,
  HOOK_FAILED: 1,
  EMBEDDED_FAILED: 1,
  POOL_TIMEOUT: 1,
  NO_TENANT_CONTEXT: 1,
  CLOSED: 1,
  INTERNAL: 1,

  // Only a signal or Ctrl-C at a prompt aborts on the command line; SIGTERM's 143 is decided by the signal itself.
  ABORTED: 130,

  CONNECTION_FAILED: 6,
  AUTHENTICATION_FAILED: 6,
  TLS_FAILED: 6,
}

/** Also for codes that came back as data, in a fleet's outcomes. */
export function exitCodeOf(code: string): ExitCode {
  return Object.hasOwn(exitCodes, code) ? exitCodes[code as ErrorCode] : 1
}

/** What every fleet command ends with. */
export function fleetExitCode(result: { failed: number; stopped?: string }): ExitCode {
  return result.failed > 0 || result.stopped !== undefined ? 5 : 0
}

interface NamedTenants {
  tenants: readonly string[]
  file?: string
}

/** One tenant that was named is no fleet to its user: what it failed with is the command's own error. */
export function selectionFailure(
  result: { tenants: readonly { error?: ErrorReport }[] },
  selection: NamedTenants | undefined,
): ErrorReport | undefined {
  const namedOne = selection?.tenants.length === 1 && selection.file === undefined
  return namedOne ? result.tenants[0]?.error : undefined
}

/** So open connections are a 4 for whoever drops one tenant, and a 5 among several. */
export function selectionExitCode(
  result: { failed: number; tenants: readonly { error?: ErrorReport }[] },
  selection: NamedTenants,
): ExitCode {
  const failure = selectionFailure(result, selection)
  return failure ? exitCodeOf(failure.code) : fleetExitCode(result)
}
