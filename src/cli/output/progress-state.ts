import type { TenancyEvent } from '../../events.ts'
import { formatDuration } from './format.ts'
import { clean } from './sanitize.ts'
import type { Style } from './style.ts'

const verbs: Record<string, string> = { status: 'checking', drop: 'dropping', create: 'creating', seed: 'seeding' }

/** What the events so far add up to; pure, so that the arithmetic can be tested without a terminal. */
export class ProgressState {
  #fleet: { command: string; total: number; done: number; failed: number; startedAt: number } | undefined
  #current = ''

  add(event: TenancyEvent, now: number): void {
    switch (event.event) {
      case 'fleet_started':
        this.#fleet = { command: event.command, total: event.total, done: 0, failed: 0, startedAt: now }
        break
      case 'tenant_finished':
        if (!this.#fleet) break
        this.#fleet.done += 1
        if (event.status === 'failed') this.#fleet.failed += 1
        break
      case 'step_started':
        this.#current = `${event.tenant}: ${stepLabel(event.step)}`
        break
      case 'migration_started':
        this.#current = `${event.tenant}: ${event.migration}`
        break
      case 'operation_started':
        this.#current = `${event.tenant}: ${event.operation}`
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

  /** Empty as long as there is nothing to tell. */
  line(now: number, options: { bar: boolean }): string {
    const fleet = this.#fleet
    // A fleet of one is better told by its steps than by "0/1".
    if (!fleet || (fleet.total === 1 && this.#current !== '')) return clean(this.#current)
    const { done, total, failed } = fleet
    const perSecond = done / Math.max((now - fleet.startedAt) / 1000, 0.001)
    const parts = [`${done}/${total}`]
    if (failed > 0) parts.push(`${failed} failed`)
    if (done > 0) parts.push(`${perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond)}/s`)
    if (done > 0 && done < total) parts.push(`${formatDuration(((total - done) / perSecond) * 1000)} left`)
    const title = verbs[fleet.command] ?? fleet.command
    return `${title} ${options.bar ? `${bar(done / Math.max(total, 1))} ` : ''}${parts.join(' · ')}`
  }
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

/** The line an event leaves behind, if it is worth one. */
export function eventLine(event: TenancyEvent, style: Style): string | undefined {
  const who = 'tenant' in event && event.tenant ? `${style.bold(clean(event.tenant))}  ` : ''
  switch (event.event) {
    case 'waiting':
      return `${who}${style.warn('waiting')}: ${clean(event.reason)}`
    case 'retrying':
      return `${who}${style.warn(`trying again in ${formatDuration(event.delayMs)}`)}: ${clean(event.error.message)}`
    case 'notice':
    case 'server_started':
      return `${who}${clean(event.message)}`
  }
  if (!style.verbose) return undefined
  const took = (ms: number): string => style.dim(formatDuration(ms))
  switch (event.event) {
    case 'step_finished':
      return `${who}${stepLabel(clean(event.step))}  ${event.skipped ? style.dim('done before') : took(event.durationMs)}`
    case 'migration_finished':
      return `${who}${event.direction === 'up' ? 'applied' : 'rolled back'} ${clean(event.migration)}  ${took(event.durationMs)}`
    case 'seed_finished':
      return `${who}seeded ${clean(event.seed)}  ${took(event.durationMs)}`
    case 'operation_finished':
      return `${who}${event.operation} finished  ${took(event.durationMs)}`
    case 'tenant_finished':
      return `${who}${event.status}  ${took(event.durationMs)}`
    default:
      return undefined
  }
}
