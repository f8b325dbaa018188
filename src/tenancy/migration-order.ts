import { createHash } from 'node:crypto'
import type { ErrorCode } from '../errors.ts'
import type { Visit } from '../fleet/run-fleet.ts'
import type { Selection } from '../fleet/selection.ts'
import { hashCompanions } from '../migrations/source.ts'
import { PutBack } from '../queue/job.ts'
import { actor } from '../registry/operation-journal.ts'
import type { FleetOptions } from './fleet.ts'
import type { Parts } from './parts.ts'

/** What a queued rollout is asked to do; stored with its job. */
export interface MigrationOrder extends VisitOrder {
  selection: Selection
  verify: boolean
  rollout: Pick<
    FleetOptions,
    'concurrency' | 'concurrencyPerServer' | 'canary' | 'bake' | 'maxFailures' | 'retries' | 'runTimeout'
  >
}

/** What each of its tenants is asked. */
export interface VisitOrder {
  to?: string | undefined
  allowChanged: boolean
  lockTimeoutMs: number
  statementTimeoutMs: number
  timeoutMs?: number | undefined
  /** Of the migration files of whoever queued it. */
  files: string
}

/** One visit of one tenant. */
export interface TenantOrder extends VisitOrder {
  server: string
  attempt: number
  canary: boolean
  notes: Visit['notes']
  /** Somebody named it: one that is not active is an error. */
  named: boolean
}

/** Another worker may have them sooner than this one. */
const othersMs = 3_000

/** A hash over the migration files, with what stands in subfolders: JavaScript may import it. */
export async function filesHash(parts: Parts): Promise<string> {
  const hash = createHash('sha256')
  for (const { file, checksum } of await parts.migrations()) hash.update(`${file}\0${checksum}\0`)
  return hash.update(await hashCompanions([parts.config.migrations.directory])).digest('hex')
}

/** Throws `PutBack` when this process has other files than the order is for: it must not run its own instead. */
export async function refuseOtherFiles(parts: Parts, order: VisitOrder): Promise<void> {
  if ((await filesHash(parts)) === order.files) return
  const message =
    `the worker ${actor()} (pid ${process.pid}) has read other migration files than the one who queued this; ` +
    'the job waits for a worker that was started with the same'
  throw new PutBack({ code: 'MIGRATIONS_DIFFER' satisfies ErrorCode, message }, othersMs)
}
