const operationKinds = [
  'create',
  'drop',
  'migrate',
  'rollback',
  'seed',
  'suspend',
  'resume',
  'protect',
  'unprotect',
  'undrop',
  'purge',
  'rotate-password',
  'restore',
  'baseline',
] as const

/** What is done to one tenant, as the journal names it. */
export type OperationKind = (typeof operationKinds)[number]

/** `interrupted`: its process died; the next run on the tenant finds that out and says so. */
export type OperationStatus = 'running' | 'succeeded' | 'failed' | 'interrupted'

/** One step of an operation, written down before it is done. */
export interface OperationStep {
  name: string
  status: 'started' | 'done' | 'failed' | 'undone'
  startedAt: string
  finishedAt: string | null
}

/** One recorded run of a changing command on one tenant. */
export interface Operation {
  id: string
  kind: OperationKind
  tenant: string
  tenantId: string
  status: OperationStatus
  /** Who: `user@host`, and the process id there. */
  actor: string
  pid: number
  startedAt: string
  finishedAt: string | null
  error: { code: string; message: string } | null
  steps: OperationStep[]
}
