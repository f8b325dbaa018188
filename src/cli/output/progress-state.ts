import type { TenancyEvent } from '../../events.ts'
import { formatDuration } from './format.ts'
import { clean } from './sanitize.ts'

const verbs: Record<string, string> = {
  ...{ create: 'creating', restore: 'restoring', drop: 'dropping', undrop: 'bringing back', purge: 'purging' },
  ...{ migrate: 'migrating', rollback: 'rolling back', baseline: 'baselining', seed: 'seeding' },
  ...{ suspend: 'suspending', resume: 'resuming', protect: 'protecting', unprotect: 'unprotecting' },
  ...{ 'rotate-password': 'rotating', repair: 'repairing', status: 'checking', drift: 'checking', doctor: 'checking' },
}
/** At work: more would push the line off the screen. */
const named = 4

interface Fleet {
  command: string
  total: number
  /** Of these the registry knew that there was nothing to do. */
  settled: number
  counts: { changed: number; upToDate: number; failed: number; skipped: number }
  startedAt: number
  /** When each tenant now at work was begun. */
  running: Map<string, number>
  slowest: { tenant: string; durationMs: number } | undefined
  /** What the run waits for, beside its tenants. */
  baking: { until: number } | undefined
}

/** What the events so far add up to; pure, so that the arithmetic can be tested without a terminal. */
export class ProgressState {
  #fleet: Fleet | undefined
  #current = ''

  add(event: TenancyEvent, now: number): void {
    switch (event.event) {
      case 'fleet_started': {
        const { command, total, upToDate = 0 } = event
        const counts = { changed: 0, upToDate, failed: 0, skipped: 0 }
        const nobody = { running: new Map<string, number>(), slowest: undefined, baking: undefined }
        this.#fleet = { command, total, settled: upToDate, counts, startedAt: now, ...nobody }
        break
      }
      case 'tenant_started':
        this.#fleet?.running.set(event.tenant, now)
        if (this.#fleet) this.#fleet.baking = undefined
        break
      case 'retrying':
        this.#fleet?.running.delete(event.tenant)
        break
      case 'tenant_finished':
        if (this.#fleet) finish(this.#fleet, event)
        break
      case 'baking':
        if (this.#fleet) this.#fleet.baking = { until: now + event.durationMs }
        break
      case 'step_started':
        this.#current = `${event.tenant}: ${stepLabel(event.step)}`
        break
      case 'migration_started':
        this.#current = `${event.tenant}: ${event.migration}`
        break
      case 'operation_started':
        this.#current = `${event.tenant}: ${verbs[event.operation] ?? event.operation}`
        break
      case 'waiting':
        this.#current = `${event.tenant}: waiting, ${event.reason}`
        break
      case 'server_started':
      case 'notice':
        this.#current = event.message
        break
    }
  }

  /** Tenants of the fleet; 0 as long as none is known. */
  get total(): number {
    return this.#fleet?.total ?? 0
  }

  /** Counts, rate and time left. Empty as long as there is nothing to tell. */
  line(now: number, options: { bar: boolean }): string {
    const fleet = this.#fleet
    // A fleet of one is better told by its steps than by "0/1".
    if (!fleet || (fleet.total === 1 && this.#current !== '')) return clean(this.#current)
    const { counts, total } = fleet
    const done = counts.changed + counts.upToDate + counts.failed + counts.skipped
    const visited = done - fleet.settled
    const perSecond = visited / Math.max((now - fleet.startedAt) / 1000, 0.001)
    const parts = [`${done}/${total}`]
    if (counts.changed > 0 && (counts.upToDate > 0 || counts.failed > 0)) parts.push(`${counts.changed} done`)
    if (counts.upToDate > 0) parts.push(`${counts.upToDate} up to date`)
    if (counts.failed > 0) parts.push(`${counts.failed} failed`)
    if (counts.skipped > 0) parts.push(`${counts.skipped} skipped`)
    if (fleet.running.size > 0) parts.push(`${fleet.running.size} running`)
    if (done < total) parts.push(`${total - done} left`)
    if (visited > 0) parts.push(`${perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond)}/s`)
    if (fleet.baking) parts.push(`waiting ${formatDuration(Math.max(0, fleet.baking.until - now))} before the others`)
    else if (visited > 0 && done < total) parts.push(formatDuration(((total - done) / perSecond) * 1000))
    const title = verbs[fleet.command] ?? fleet.command
    return `${title} ${options.bar ? `${bar(done / Math.max(total, 1))} ` : ''}${parts.join(' · ')}`
  }

  /** Who is at work, longest first, and who took longest so far; for a terminal. */
  details(now: number): string {
    const fleet = this.#fleet
    if (!fleet || fleet.total === 1) return ''
    const running = [...fleet.running].map(([tenant, since]) => ({ tenant, took: now - since }))
    running.sort((a, b) => b.took - a.took)
    const few = running.slice(0, named).map(({ tenant, took }) => `${clean(tenant)} ${formatDuration(took)}`)
    if (running.length > named) few.push(`and ${running.length - named} more`)
    const parts = few.length > 0 ? [few.join(', ')] : []
    const { slowest } = fleet
    if (slowest) parts.push(`slowest: ${clean(slowest.tenant)} ${formatDuration(slowest.durationMs)}`)
    return parts.join(' · ')
  }
}

function finish(fleet: Fleet, event: TenancyEvent & { event: 'tenant_finished' }): void {
  const { tenant, status, durationMs } = event
  fleet.running.delete(tenant)
  if (status === 'failed') fleet.counts.failed += 1
  else if (status === 'skipped') fleet.counts.skipped += 1
  else if (status === 'up_to_date') fleet.counts.upToDate += 1
  else fleet.counts.changed += 1
  if (durationMs > (fleet.slowest?.durationMs ?? 0)) fleet.slowest = { tenant, durationMs }
}

function bar(share: number): string {
  const width = 24
  const full = Math.round(share * width)
  return '━'.repeat(full) + '─'.repeat(width - full)
}

/** `createDatabase` → `create database`. */
export function stepLabel(step: string): string {
  return step.replace(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`)
}
