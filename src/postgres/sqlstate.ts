import { type ErrorCode, type ErrorFacts, isTenancyError, TenancyError } from '../errors.ts'

/** Named SQLSTATEs (manual, appendix A). */
export const sqlstate = {
  invalidPassword: '28P01',
  undefinedTable: '42P01',
  undefinedObject: '42704',
  invalidSchemaName: '3F000',
  unknownDatabase: '3D000',
  duplicateDatabase: '42P04',
  duplicateObject: '42710',
  uniqueViolation: '23505',
  objectInUse: '55006',
  tooManyConnections: '53300',
  lockNotAvailable: '55P03',
  queryCanceled: '57014',
  insufficientPrivilege: '42501',
  cannotConnectNow: '57P03',
  internalError: 'XX000',
  featureNotSupported: '0A000',
  invalidStatementName: '26000',
  duplicateStatement: '42P05',
} as const

const resources = ['53000', '53100', '53200', '53300', '53400', '54000', '58030']
const authentication = ['28000', '28P01']
const connection = ['57P01', '57P02', '57P03', '57P05']

/** The server was not reached, or did not let us in. */
export const reachCodes: readonly ErrorCode[] = ['CONNECTION_FAILED', 'AUTHENTICATION_FAILED', 'TLS_FAILED']

const network = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EPIPE',
  'ENOENT',
  'EACCES',
])

/** What comes of a prepared statement whose session, or the tables it reads, have become others meanwhile. */
const unprepared: string[] = [sqlstate.invalidStatementName, sqlstate.duplicateStatement, sqlstate.featureNotSupported]

export function isUnprepared(error: unknown): boolean {
  return unprepared.includes(sqlstateOf(error) ?? '')
}

/** The SQLSTATE of a driver's error, or of the one that a TenancyError was made from. */
export function sqlstateOf(error: unknown): string | undefined {
  if (isTenancyError(error)) return error.sqlstate
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' &&
    /^[0-9A-Z]{5}$/.test(code) &&
    (error as { severity?: unknown }).severity !== undefined
    ? code
    : undefined
}

/** The constraint that a driver's error names, or the one that a TenancyError was made from. */
export function constraintOf(error: unknown): string | undefined {
  const { constraint } = (isTenancyError(error) ? error.cause : error) as { constraint?: string }
  return constraint
}

/** A server may send a gigabyte; nobody reads more than this. */
const longestMessage = 2_000

/**
 * The only place that reads a driver's error. Lifts safe fields alone: `detail` may hold row values and is
 * shown with --verbose only, the statement's text is left out (it may hold a password's verifier).
 */
export function toTenancyError(error: unknown, doing: string, facts: ErrorFacts = {}): TenancyError {
  if (isTenancyError(error)) return error
  const state = sqlstateOf(error)
  const { message: said, detail, hint, code } = error as Error & { detail?: string; hint?: string; code?: string }
  const message = said.length > longestMessage ? `${said.slice(0, longestMessage)}…` : said
  if (state !== undefined) {
    return new TenancyError(codeOfSqlstate(state), `${doing}: ${message}`, {
      sqlstate: state,
      detail,
      hint: hintOf(state) ?? hint,
      ...facts,
      cause: error,
    })
  }
  if (isTlsProblem(code, message)) {
    return new TenancyError('TLS_FAILED', `${doing}: ${message}`, {
      hint: 'check sslmode and sslrootcert in the connection URL, and the host name in the certificate',
      ...facts,
      cause: error,
    })
  }
  if (/client password must be/.test(message)) {
    return new TenancyError('AUTHENTICATION_FAILED', `${doing}: the server asks for a password, and none was given`, {
      hint: 'put it into the connection URL, PGPASSWORD or ~/.pgpass',
      ...facts,
    })
  }
  if (message.startsWith('SASL')) {
    return new TenancyError('AUTHENTICATION_FAILED', `${doing}: ${message.replace(/^SASL: /, '')}`, {
      ...facts,
      cause: error,
    })
  }
  if (
    network.has(code ?? '') ||
    /connection terminated|timeout (expired|exceeded)|read timeout|not queryable|connection error/i.test(message)
  ) {
    const nested =
      error instanceof AggregateError ? error.errors.map((each: Error) => each.message).join('; ') : message
    return new TenancyError('CONNECTION_FAILED', `${doing}: ${nested}`, {
      hint: 'is the server running, and do host and port match?',
      ...facts,
      cause: error,
    })
  }
  return new TenancyError('INTERNAL', `${doing}: ${message}`, { ...facts, cause: error })
}

function codeOfSqlstate(state: string): ErrorCode {
  if (authentication.includes(state)) return 'AUTHENTICATION_FAILED'
  if (resources.includes(state)) return 'OUT_OF_RESOURCES'
  if (connection.includes(state) || state.startsWith('08')) return 'CONNECTION_FAILED'
  if (state === sqlstate.lockNotAvailable) return 'LOCK_TIMEOUT'
  if (state === sqlstate.queryCanceled) return 'STATEMENT_TIMEOUT'
  if (state === sqlstate.insufficientPrivilege) return 'PRIVILEGES_INSUFFICIENT'
  return 'QUERY_FAILED'
}

function hintOf(state: string): string | undefined {
  if (state === '53100') return 'free disk space on the server, then run the same command again'
  if (state === '53300') return 'lower --concurrency or raise max_connections, then run the same command again'
  if (state === '28P01') return 'the user name or the password is wrong'
  return undefined
}

/**
 * What an error of one tenant means for the others. `transient`: the same may succeed a moment later. `deterministic`:
 * it will fail everywhere. `data`: it is about the rows of that one tenant. `other`: cannot be told.
 */
export type ErrorClass = 'transient' | 'deterministic' | 'data' | 'other'

const passing = ['53300', '55P03', '57014', '57P01', '57P02', '57P03']
/** Errors of ours that have no SQLSTATE, but whose reason is a file and not a tenant. */
const ofFiles: ErrorCode[] = ['MIGRATION_CHANGED', 'MIGRATIONS_INVALID', 'MIGRATION_NOT_FOUND']

/** Manual, appendix A: classes 08 and 40, what passes of 53, 55 and 57; 22 and 23; 42. */
export function classOf(error: unknown): ErrorClass {
  const known = isTenancyError(error) ? error : undefined
  // We cut these off ourselves, whatever SQLSTATE that led to.
  if (known?.code === 'ABORTED' || known?.code === 'TENANT_TIMEOUT') return 'other'
  const state = sqlstateOf(error)
  if (state === undefined) {
    if (known?.code === 'CONNECTION_FAILED') return 'transient'
    return known && ofFiles.includes(known.code) ? 'deterministic' : 'other'
  }
  if (/^(08|40)/.test(state) || passing.includes(state)) return 'transient'
  // Two sessions changed the same catalog row at once (GRANT on one database); there is no SQLSTATE of its own for it.
  if (state === sqlstate.internalError && /tuple concurrently/.test((error as Error).message)) return 'transient'
  if (/^2[23]/.test(state)) return 'data'
  // Only in a file: a refused login, too, is of class 42, and so is what a tenant made of knex's tables. An SQL file's
  // statement has a line.
  const inFile = known?.migration !== undefined && (known.line !== undefined || !known.migration.endsWith('.sql'))
  return state.startsWith('42') && inFile ? 'deterministic' : 'other'
}

function isTlsProblem(code: string | undefined, message: string): boolean {
  return (
    /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|EPROTO)/.test(code ?? '') ||
    /does not support SSL|SSL connection|certificate/i.test(message)
  )
}
