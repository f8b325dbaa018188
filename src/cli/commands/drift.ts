import type { DriftReport, SchemaGroup } from '../../index.ts'
import { defineCommand, examples } from '../command.ts'
import { concurrencyOptions, type FleetInput, readFleet, selectionOptions, toSelection } from '../options.ts'
import { failure } from '../output/fleet.ts'
import { plural } from '../output/format.ts'
import { clean } from '../output/sanitize.ts'
import type { Style } from '../output/style.ts'

interface Input extends FleetInput {
  check: boolean
}

/** So many names and differences are enough to know where to look; JSON has them all. */
const shown = 10

export default defineCommand<Input, DriftReport>({
  configure(command) {
    concurrencyOptions(selectionOptions(command)).option('--check', 'exit 5 when schemas differ')
    examples(command, ['tenantctl drift --all', 'tenantctl drift --label plan=pro --check --json'])
  },
  read: command => ({
    ...readFleet(command),
    check: Boolean(command.opts().check),
  }),
  async run(input, context) {
    const selection = await toSelection(input.selection, context.io)
    return await (await context.tenancy()).drift.check(selection, { ...input.rollout, ...context.fleetOptions() })
  },
  text(report, style) {
    const [largest, ...others] = report.groups
    if (!largest) return style.dim('No tenant could be compared.')
    const alike = `${plural(largest.total, 'tenant')} alike`
    return [
      others.length === 0 ? style.good(alike) : alike,
      ...others.map(group => describe(group, style)),
      ...report.failures.map(outcome => failure(outcome, style)),
    ].join('\n')
  },
  exitCode: (report, { check }) => (report.failed > 0 || (check && report.groups.length > 1) ? 5 : 0),
})

function describe({ total, tenants, difference }: SchemaGroup, style: Style): string {
  const names = tenants.slice(0, shown).map(clean).join(', ') + (tenants.length > shown ? ', …' : '')
  const { missing = [], extra = [], changed = [] } = difference ?? {}
  const lines = [
    ...missing.map(object => `  - ${clean(object)}`),
    ...extra.map(object => `  + ${clean(object)}`),
    ...changed.flatMap(({ object, expected, found }) => [
      `  ~ ${clean(object)}`,
      style.dim(`      - ${clean(expected)}`),
      style.dim(`      + ${clean(found)}`),
    ]),
  ]
  const more = lines.length > shown * 3 ? [style.dim(`  … ${lines.length - shown * 3} more lines in --json`)] : []
  const verb = total === 1 ? 'differs' : 'differ'
  return [style.warn(`${plural(total, 'tenant')} ${verb}: ${names}`), ...lines.slice(0, shown * 3), ...more].join('\n')
}
