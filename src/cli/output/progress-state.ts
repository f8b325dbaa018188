import type { TenancyEvent } from '../../events.ts'
import { fitLine, fitNames } from './fit.ts'
import { formatDuration, formatEstimate } from './format.ts'
import { Pace } from './pace.ts'
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
  pace: Pace
  /** When each tenant now at work was begun. */
  running: Map<string, number>
  /** Tenants that wait for another attempt. */
  again: Set<string>
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
        const nobody = { running: new Map<string, number>(), again: new Set<string>() }
        const fleet = { command, total, settled: upToDate, counts, pace: new Pace(now), ...nobody }
        this.#fleet = { ...fleet, slowest: undefined, baking: undefined }
        break
      }
      case 'tenant_started':
        if (this.#fleet) begin(this.#fleet, event.tenant, now)
        break
      case 'retrying':
        this.#fleet?.running.delete(event.tenant)
        this.#fleet?.again.add(event.tenant)
        break
      case 'tenant_finished':
        if (this.#fleet) finish(this.#fleet, event, now)
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

  /**
   * Counts, rate and time left; empty as long as there is nothing to tell. Within a width there is a bar where there is
   * room for one, and where there is little, what the other counts tell as well is left out.
   */
  line(now: number, width?: number): string {
    const fleet = this.#fleet
    // A fleet of one is better told by its steps than by "0/1".
    if (!fleet || (fleet.total === 1 && this.#current !== '')) return clean(this.#current)
    const { counts, total, running, again, pace, baking } = fleet
    const done = counts.changed + counts.upToDate + counts.failed + counts.skipped
    const perSecond = baking ? 0 : pace.perSecond(now)
    const many = (count: number, what: string, needed: number) =>
      count > 0 ? [{ text: `${count} ${what}`, needed }] : []
    const parts = [
      { text: `${done}/${total}`, needed: 9 },
      ...(counts.upToDate > 0 || counts.failed > 0 ? many(counts.changed, 'done', 4) : []),
      ...many(counts.upToDate, 'up to date', 3),
      ...many(counts.failed, 'failed', 9),
      ...many(counts.skipped, 'skipped', 6),
      ...many(running.size, 'running', 2),
      ...many(again.size, 'to retry', 5),
      ...many(total - done, 'left', 1),
      ...(perSecond > 0
        ? [{ text: `${perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond)}/s`, needed: 7 }]
        : []),
      ...(perSecond > 0 && done < total
        ? [{ text: `ETA ${formatEstimate(((total - done) / perSecond) * 1000)}`, needed: 8 }]
        : []),
      ...(baking ? [{ text: `the others in ${formatEstimate(Math.max(0, baking.until - now))}`, needed: 8 }] : []),
    ]
    return fitLine(verbs[fleet.command] ?? fleet.command, parts, { share: done / Math.max(total, 1), width })
  }

  /** Who is at work, longest first, and who took longest so far; for a terminal. */
  details(now: number, width?: number): string {
    const fleet = this.#fleet
    if (!fleet || fleet.total === 1) return ''
    const running = [...fleet.running].map(([tenant, since]) => ({ tenant, took: now - since }))
    running.sort((a, b) => b.took - a.took)
    const names = running.slice(0, named).map(({ tenant, took }) => `${clean(tenant)} ${formatDuration(took)}`)
    const { slowest } = fleet
    const end = slowest ? `slowest: ${clean(slowest.tenant)} ${formatDuration(slowest.durationMs)}` : ''
    return fitNames(names, running.length, end, width)
  }
}

function begin(fleet: Fleet, tenant: string, now: number): void {
  fleet.running.set(tenant, now)
  fleet.again.delete(tenant)
  // The wait between the groups says nothing of how long the others will take.
  if (fleet.baking) fleet.pace.restart(now)
  fleet.baking = undefined
}

function finish(fleet: Fleet, event: TenancyEvent & { event: 'tenant_finished' }, now: number): void {
  const { tenant, status, durationMs } = event
  fleet.running.delete(tenant)
  // Of a server that is given up it is not tried again.
  fleet.again.delete(tenant)
  fleet.pace.finished(now)
  if (status === 'failed') fleet.counts.failed += 1
  else if (status === 'skipped') fleet.counts.skipped += 1
  else if (status === 'up_to_date') fleet.counts.upToDate += 1
  else fleet.counts.changed += 1
  if (durationMs > (fleet.slowest?.durationMs ?? 0)) fleet.slowest = { tenant, durationMs }
}

/** `createDatabase` → `create database`. */
export function stepLabel(step: string): string {
  return step.replace(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`)
}
