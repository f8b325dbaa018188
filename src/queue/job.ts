export const jobKinds = ['create', 'migrate', 'migrate-tenant'] as const
/**
 * `create`: makes a tenant that was reserved. `migrate`: leads a rollout. `migrate-tenant`: one tenant of a rollout.
 */
export type JobKind = (typeof jobKinds)[number]

/** `created`: waits. `retry`: waits for another attempt. `active`: a worker is at it. `failed`: its attempts are used up. */
export type JobState = 'created' | 'retry' | 'active' | 'completed' | 'cancelled' | 'failed'

/** A piece of work in the background. */
export interface Job {
  id: string
  kind: JobKind
  /** Slug; null for a job that leads a rollout. */
  tenant: string | null
  /** Id in the ledger of the rollout that it belongs to; null for other jobs. */
  run: string | null
  state: JobState
  /** How often it was tried again. */
  retries: number
  createdAt: string
  startedAt: string | null
  finishedAt: string | null
  /** Why the last attempt failed, or why a worker left it to others. */
  error: { code: string; message: string } | null
}

/** What is stored with a job; never a secret. */
export interface JobPayload {
  tenantId?: string
  tenant?: string
  run?: string
  options: object
}

/** Jobs that match all of these. */
export interface JobFilter {
  state?: JobState | undefined
  /** Slug or id. */
  tenant?: string | undefined
  limit?: number | undefined
}

/** Thrown by a handler that leaves its job to somebody else: that is no attempt, and costs none. */
export class PutBack extends Error {
  constructor(
    readonly reason: { code: string; message: string } | null,
    /** Milliseconds before it can be taken again. */
    readonly delayMs = 0,
  ) {
    super(reason?.message ?? 'handed on')
  }
}

export interface JobRow {
  id: string
  name: JobKind
  data: JobPayload
  state: JobState
  retry_count: number
  created_on: Date
  started_on: Date | null
  completed_on: Date | null
  output: { code?: string; message?: string } | null
}

export function toJob(row: JobRow): Job {
  return {
    id: row.id,
    kind: row.name,
    tenant: row.data.tenant ?? null,
    run: row.data.run ?? null,
    state: row.state,
    retries: row.retry_count,
    createdAt: row.created_on.toISOString(),
    startedAt: row.started_on?.toISOString() ?? null,
    finishedAt: row.completed_on?.toISOString() ?? null,
    error: errorOf(row),
  }
}

function errorOf({ state, output }: JobRow): Job['error'] {
  const left = state === 'created' && output !== null
  if (state !== 'failed' && state !== 'retry' && !left) return null
  const { code = 'INTERNAL', message = 'the worker ended before the job did' } = output ?? {}
  return { code, message }
}
