import type { RepairResult } from '../../tenancy/repair.ts'
import { defineCommand, examples } from '../command.ts'
import { exitCodeOf, fleetExitCode, selectionFailure } from '../exit-codes.ts'
import {
  concurrencyOptions,
  type RolloutInput,
  readOptionalSelection,
  readRollout,
  type SelectionInput,
  selectionOptions,
  toSelection,
} from '../options.ts'
import { fleetText } from '../output/fleet.ts'
import { clean } from '../output/sanitize.ts'
import type { Style } from '../output/style.ts'
import { hintLines } from '../output/text.ts'

interface Input {
  selection: SelectionInput | undefined
  rollout: RolloutInput
}

export default defineCommand<Input, RepairResult>({
  configure(command) {
    concurrencyOptions(selectionOptions(command))
    examples(command, ['tenantctl repair', 'tenantctl repair acme', 'tenantctl repair --all'])
    command.addHelpText(
      'after',
      '\nWithout a selection: all that need it. A tenant that a living run is at work on is left alone.',
    )
  },
  read: command => ({ selection: readOptionalSelection(command), rollout: readRollout(command) }),
  async run({ selection: given, rollout }, context) {
    const selection = given && (await toSelection(given, context.io))
    return await (await context.tenancy()).repair(selection, { ...rollout, ...context.fleetOptions() })
  },
  async text(result, style) {
    const parts: string[] = []
    if (result.total > 0) parts.push(await fleetText(result, style))
    const others = [...result.leftovers.map(each => leftoverLines(each, style))]
    for (const { server, error } of result.unreachable) {
      others.push([`${style.bad('✗')} server ${style.bold(clean(server))}`, `  ${clean(error.message)}`])
    }
    if (others.length > 0) parts.push(others.map(lines => lines.join('\n')).join('\n'))
    return parts.length > 0 ? parts.join('\n\n') : style.good('Nothing was left half-done.')
  },
  failure: (result, { selection }) => selectionFailure(result, selection),
  exitCode(result, { selection }) {
    const failure = selectionFailure(result, selection)
    if (failure) return exitCodeOf(failure.code)
    if (result.unreachable.length > 0 && result.failed === 0) return 6
    const failed = result.leftovers.filter(each => each.status === 'failed').length
    return fleetExitCode({ failed: result.failed + failed })
  },
})

function leftoverLines(
  { server, kind, name, status, error }: RepairResult['leftovers'][number],
  style: Style,
): string[] {
  const what = `${kind} ${style.bold(clean(name))} on server ${clean(server)}, of no tenant any more`
  if (status === 'removed') return [`${style.good('✓')} removed ${what}`]
  if (status === 'left') {
    return [`${style.warn('!')} left ${what}: it may hold data`, ...hintLines('tenantctl doctor', style)]
  }
  return [
    `${style.bad('✗')} ${what}`,
    `  ${clean(error?.message ?? 'could not be removed')}`,
    ...(error?.hint ? hintLines(error.hint, style) : []),
  ]
}
