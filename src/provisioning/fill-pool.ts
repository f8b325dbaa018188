import { asTenancyError, TenancyError, throwIfAborted } from '../errors.ts'
import { notify } from '../events.ts'
import { type Client, withAdmin } from '../postgres/connect.ts'
import { lockKey, withAdvisoryLock } from '../postgres/locks.ts'
import { adminFacts } from '../postgres/server.ts'
import type { ReadyTenant } from '../registry/ready-tenants.ts'
import type { Origin } from './copy.ts'
import type { RunOptions } from './create.ts'
import { reach } from './lock.ts'
import { makeReady } from './make-ready.ts'
import { markerStart } from './marker.ts'
import type { ProvisioningParts } from './parts.ts'
import { isWhole, readyPlace, removeReady } from './ready.ts'
import { ensureTemplate, planTemplate, type TemplateContext } from './template.ts'

/** So many are made at once: CREATE DATABASE gains little by more. */
const atOnce = 4
const lockWaitMs = 300_000

/** The stock of one server. */
export interface PoolStatus {
  server: string
  /** How many there should be. */
  size: number
  /** Ready, and copies of the template that tenants are made from now. */
  ready: number
  /** Ready too, but of another state of the files: nobody takes them. */
  stale: number
  /** Being made or removed, or left so by a run that was cut off. */
  unfinished: number
}

export interface PoolFilling extends PoolStatus {
  made: number
  removed: number
}

interface FillOptions extends RunOptions {
  size: number
  /** How old, in milliseconds, one has to be that does not fit before it is removed: another program may want it. */
  staleAfterMs: number
  /** How long to wait for somebody who is filling it. Default: 5 minutes. */
  waitMs?: number | undefined
  /** Begins no further one. */
  drain?: AbortSignal | undefined
}

export async function poolStatus(
  parts: ProvisioningParts,
  server: string,
  { size, ...options }: RunOptions & { size: number },
): Promise<PoolStatus> {
  const name = await onServer(parts, server, options, async context => (await planTemplate(context))?.name)
  const rows = await parts.ready.list(server)
  const count = (holds: (row: ReadyTenant) => boolean) => rows.filter(holds).length
  return {
    server,
    size,
    ready: count(row => row.status === 'ready' && row.template === name),
    stale: count(row => row.status === 'ready' && row.template !== name),
    unfinished: count(row => row.status === 'filling' || row.status === 'removing'),
  }
}

/**
 * Makes a server's stock be of its size: removes what fillings left that were cut off, what does not fit any more and
 * what is too much, and makes what is missing. One at a time fills it. Throws `TENANT_LOCKED`, `PROVISIONING_FAILED`
 * when there is no template to copy, or what stopped it; what it has made by then stays.
 */
export async function fillPool(
  parts: ProvisioningParts,
  server: string,
  options: FillOptions,
): Promise<Pick<PoolFilling, 'made' | 'removed'>> {
  return onServer(parts, server, options, context => {
    const wait = {
      timeoutMs: options.waitMs ?? lockWaitMs,
      signal: options.signal,
      evict: markerStart,
      onWait: () =>
        notify(options.onEvent, { event: 'notice', message: `another run is filling the stock of ${server}` }),
      onTimeout: () => new TenancyError('TENANT_LOCKED', `another run is filling the stock of server "${server}"`),
    }
    const lock = lockKey('pool', parts.registryId)
    return withAdvisoryLock(context.admin, lock, wait, () => fill(parts, context, options))
  })
}

async function fill(
  parts: ProvisioningParts,
  context: TemplateContext,
  options: FillOptions,
): Promise<Pick<PoolFilling, 'made' | 'removed'>> {
  const { signal, onEvent, size, drain } = options
  const { server } = context.tenant
  const origin = size > 0 ? await templateFor(context) : undefined
  const { fitting, others } = await sort(parts, context.admin, server, origin, options)
  let removed = 0
  for (const ready of [...others, ...fitting.slice(size)]) {
    throwIfAborted(signal)
    if (drain?.aborted) return { made: 0, removed }
    if (await tryToRemove(parts, ready, { signal, onEvent })) removed += 1
  }
  const missing = origin ? Math.max(0, size - fitting.length) : 0
  const made = await severalTimes(missing, drain, () => makeReady(parts, server, origin as Origin, { signal, onEvent }))
  return { made, removed }
}

/** A few at once; after a failure no further one is begun. Returns how many were done. */
async function severalTimes(count: number, drain: AbortSignal | undefined, work: () => Promise<void>): Promise<number> {
  const failures: unknown[] = []
  let begun = 0
  let done = 0
  const worker = async () => {
    while (begun < count && failures.length === 0 && !drain?.aborted) {
      begun += 1
      await work().then(
        () => {
          done += 1
        },
        error => failures.push(error),
      )
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, worker))
  if (failures.length > 0) throw failures[0]
  return done
}

/** One that cannot be removed does not keep others from being made; doctor tells of it as well. */
async function tryToRemove(parts: ProvisioningParts, ready: ReadyTenant, options: RunOptions): Promise<boolean> {
  try {
    return await removeReady(parts, ready, options)
  } catch (error) {
    if (options.signal?.aborted) throw error
    const message = `ready tenant "${readyPlace(ready).database}" cannot be removed: ${asTenancyError(error).message}`
    notify(options.onEvent, { event: 'notice', message })
    return false
  }
}

/** Those that tenants can be made of now, and those that have to go. */
async function sort(
  parts: ProvisioningParts,
  admin: Client,
  server: string,
  origin: Origin | undefined,
  { staleAfterMs }: FillOptions,
): Promise<{ fitting: ReadyTenant[]; others: ReadyTenant[] }> {
  const fitting: ReadyTenant[] = []
  const others: ReadyTenant[] = []
  for (const ready of await parts.ready.list(server)) {
    if (ready.status === 'taken') continue
    const old = Date.parse(ready.madeAt) <= Date.now() - staleAfterMs
    if (ready.status !== 'ready') others.push(ready)
    else if (origin && ready.template !== origin.template) others.push(...(old ? [ready] : []))
    else if (await isWhole(parts, admin, ready)) fitting.push(ready)
    // Not whole because somebody has taken it a moment ago: then it is not removed.
    else others.push(ready)
  }
  return { fitting, others }
}

async function templateFor(context: TemplateContext): Promise<Origin> {
  const { parts, tenant } = context
  const plan = await planTemplate(context)
  const origin = plan && (await ensureTemplate(context))
  if (origin) return origin
  const reason = plan
    ? await parts.refusedTemplates.reason(tenant.server, plan.name)
    : 'there are no migrations, seeds or extensions'
  throw new TenancyError(
    'PROVISIONING_FAILED',
    `ready tenants are copies of a template, and there is none: ${reason}`,
    {
      hint: 'set pool.size to 0: new tenants are made one by one then',
    },
  )
}

function onServer<T>(
  parts: ProvisioningParts,
  server: string,
  { signal, onEvent }: RunOptions,
  work: (context: TemplateContext) => Promise<T>,
): Promise<T> {
  const { address, doing } = reach(parts, { server })
  return withAdmin(address, { signal, doing }, async admin => {
    const tenant = { slug: 'pool', server, roles: parts.config.roles }
    return work({ parts, admin, adminFacts: await adminFacts(admin), tenant, seed: true, signal, onEvent })
  })
}
