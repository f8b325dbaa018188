import { type ErrorCode, isTenancyError, TenancyError } from '../errors.ts'

/** What a visitor is told: nothing about the inside, and no name that was not in his own request. */
export interface Refusal {
  status: number
  headers: Record<string, string>
  body: { error: { code: string; message: string } }
}

/** Seconds after which somebody whose tenant is still being made may ask again. */
export const defaultRetryAfter = 2

const answers: Partial<Record<ErrorCode, [status: number, message: string]>> = {
  TENANT_NOT_FOUND: [404, 'There is nothing here.'],
  TENANT_DROPPING: [404, 'There is nothing here.'],
  TENANT_SUSPENDED: [403, 'This account is suspended.'],
  TENANT_NOT_READY: [503, 'This account is still being set up. Try again in a moment.'],
  TENANT_FAILED: [503, 'This account is still being set up. Try again in a moment.'],
}

/** The answer to a request that has no tenant to run in; undefined when it is a failure of ours. */
export function refusalOf(error: unknown, retryAfter: number): Refusal | undefined {
  const answer = isTenancyError(error) ? answers[error.code] : undefined
  if (!answer) return undefined
  const [status, message] = answer
  const { code } = error as TenancyError
  return {
    status,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'no-store',
      ...(status === 503 ? { 'retry-after': String(retryAfter) } : {}),
    },
    // That it was there once is nobody's business.
    body: { error: { code: code === 'TENANT_DROPPING' ? 'TENANT_NOT_FOUND' : code, message } },
  }
}

export function noTenantNamed(): TenancyError {
  return new TenancyError('TENANT_NOT_FOUND', 'the request does not say whose it is', {
    hint: 'it has no known subdomain, domain, header or path; `required: false` lets such requests pass',
  })
}
