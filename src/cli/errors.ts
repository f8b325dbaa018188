import type { ErrorCode, ErrorReport } from '../errors.ts'
import { exitCodes } from './exit-codes.ts'

/** Thrown by the CLI itself: a bad argument must not cost the time to load the library for its error class. */
export class CliError extends Error {
  readonly code: ErrorCode
  readonly #facts: Partial<ErrorReport>

  constructor(code: ErrorCode, message: string, facts: Partial<ErrorReport> & { cause?: unknown } = {}) {
    const { cause, ...rest } = facts
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'CliError'
    this.code = code
    this.#facts = rest
  }

  toJSON(): ErrorReport {
    return { code: this.code, message: this.message, ...this.#facts }
  }
}

// The brand the library puts on its errors, looked up by name so that nothing has to be imported to recognise one.
const tenancyErrorBrand = Symbol.for('tenantctl.TenancyError')

interface KnownError extends Error {
  code: ErrorCode
  toJSON(): ErrorReport
}

function isKnown(error: unknown): error is KnownError {
  if (!(error instanceof Error)) return false
  if (error instanceof CliError) return true
  const branded = (error as unknown as Record<symbol, unknown>)[tenancyErrorBrand] === true
  return branded && Object.hasOwn(exitCodes, (error as KnownError).code)
}

/** The facts of any thrown thing; what nobody foresaw is a bug of ours and says so. */
export function toReport(error: unknown): ErrorReport {
  if (isKnown(error) && error.code !== 'INTERNAL') return error.toJSON()
  const message = error instanceof Error ? error.message || error.name : String(error)
  return {
    code: 'INTERNAL',
    message: `${message} (this is a bug in tenantctl)`,
    hint: 'run the command again with --verbose and report what it prints',
  }
}

/** The part of an error that only --verbose shows: the server's detail may hold row values. */
export function detailOf(error: unknown): string | undefined {
  const detail = (error as { detail?: unknown } | null | undefined)?.detail
  return typeof detail === 'string' && detail !== '' ? detail : undefined
}

/** Why it happened, when the error itself does not already say so. */
export function causeOf(error: unknown): string | undefined {
  if (!isKnown(error)) return undefined
  let cause: unknown = error.cause
  // Node wraps the refusals of several addresses (::1, 127.0.0.1) in one error without a message.
  if (cause instanceof AggregateError && cause.message === '') cause = cause.errors[0]
  const message = cause instanceof Error ? cause.message : undefined
  return message && !error.message.includes(message) ? message : undefined
}

/** Ctrl-C, or the end of input, at a prompt. */
export function isPromptExit(error: unknown): boolean {
  return error instanceof Error && (error.name === 'ExitPromptError' || error.name === 'AbortPromptError')
}
