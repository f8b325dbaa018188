import type { ErrorReport } from '../../errors.ts'
import type { TenancyEvent } from '../../events.ts'
import { formatDuration } from './format.ts'
import { stepLabel } from './progress-state.ts'
import { clean } from './sanitize.ts'
import type { Style } from './style.ts'
import { placeOf } from './text.ts'

/** Of a larger fleet a failure is told as it comes, since its result tells many of them together. */
const largeFleet = 30
/** Of one kind, in a large fleet: a thousand lock timeouts are no thousand lines. */
const mostOfAKind = 20
const bounded = ['waiting', 'retrying', 'notice', 'tenant_finished']

/** The lines that events leave behind, where they are worth one. */
export class EventLines {
  #large = false
  readonly #told = new Map<string, number>()

  constructor(private readonly style: Style) {}

  line(event: TenancyEvent): string | undefined {
    if (event.event === 'fleet_started') {
      this.#large = event.total > largeFleet
      this.#told.clear()
    }
    const line = eventLine(event, this.style) ?? (this.#large ? failureLine(event, this.style) : undefined)
    if (line === undefined || !this.#large || this.style.verbose || !bounded.includes(event.event)) return line
    const told = (this.#told.get(event.event) ?? 0) + 1
    this.#told.set(event.event, told)
    if (told <= mostOfAKind) return line
    if (told > mostOfAKind + 1) return undefined
    return this.style.dim('… more of these are not shown; --verbose shows all')
  }
}

/** `✗ globex  004_x.sql:12: column "x" does not exist` */
function failureLine(event: TenancyEvent, style: Style): string | undefined {
  if (event.event !== 'tenant_finished' || event.status !== 'failed' || !event.error) return undefined
  const place = placeOf(event.error)
  return `${style.bad('✗')} ${style.bold(clean(event.tenant))}  ${place ? `${style.accent(place)}: ` : ''}${reasonOf(event.error)}`
}

/** Who holds the lock is what can be acted upon at once. */
function reasonOf({ code, message, hint }: ErrorReport): string {
  return clean(code === 'LOCK_TIMEOUT' && hint !== undefined ? `${message}, ${hint}` : message)
}

/** The line an event leaves behind, if it is worth one. */
function eventLine(event: TenancyEvent, style: Style): string | undefined {
  const who = 'tenant' in event && event.tenant ? `${style.bold(clean(event.tenant))}  ` : ''
  switch (event.event) {
    case 'waiting':
      return `${who}${style.warn('waiting')}: ${clean(event.reason)}`
    case 'retrying':
      return `${who}${style.warn(`trying again in ${formatDuration(event.delayMs)}`)}: ${reasonOf(event.error)}`
    case 'baking':
      return `the canary group of ${event.tenants} has passed; the others come in ${formatDuration(event.durationMs)}`
    case 'notice':
      return event.verbose && !style.verbose ? undefined : `${who}${clean(event.message)}`
    case 'server_started':
      return `${who}${clean(event.message)}`
  }
  if (!style.verbose) return undefined
  const took = (ms: number): string => style.dim(formatDuration(ms))
  switch (event.event) {
    case 'concurrency':
      return style.dim(`${clean(event.server)}: ${event.concurrency} at once (${clean(event.reason)})`)
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
