import type { Operation } from '../../registry/operation.ts'
import { formatDuration, formatTime } from './format.ts'
import { clean } from './sanitize.ts'
import type { Style } from './style.ts'

/** When, what, how it ended, how long it took, and why it did not succeed. */
export function operationRow(operation: Operation, style: Style): string[] {
  return [
    style.dim(formatTime(operation.startedAt)),
    operation.kind,
    statusText(operation.status, style),
    operation.finishedAt === null
      ? ''
      : formatDuration(Date.parse(operation.finishedAt) - Date.parse(operation.startedAt)),
    operation.error ? clean(operation.error.message) : '',
  ]
}

function statusText(status: Operation['status'], style: Style): string {
  if (status === 'succeeded') return style.good(status)
  return status === 'running' ? style.warn(status) : style.bad(status)
}
