import type { FleetResult } from '../../fleet/result.ts'
import { defineCommand, examples } from '../command.ts'
import { confirmFleet } from '../confirm-fleet.ts'
import type { CliContext } from '../context.ts'
import { CliError } from '../errors.ts'
import { fleetExitCode } from '../exit-codes.ts'
import {
  positiveInteger,
  type RolloutInput,
  readOptionalSelection,
  readRollout,
  readSelection,
  rolloutOptions,
  type SelectionInput,
  selectionOptions,
  toSelection,
} from '../options.ts'
import { fleetText } from '../output/fleet.ts'
import { formatTime, plural } from '../output/format.ts'
import { confirmByRetyping, registryInWords, requireInteractive } from '../prompts.ts'

interface Input {
  selection: SelectionInput | undefined
  target: { to: string } | { steps: number } | { run: string }
  rollout: RolloutInput
}

export default defineCommand<Input, FleetResult>({
  configure(command) {
    selectionOptions(command)
      .option('--to <migration>', 'undo everything after this migration')
      .option('--steps <n>', 'undo so many migrations', positiveInteger)
      .option('--run <id>', 'undo exactly what a recorded run applied, on just the tenants it changed')
    rolloutOptions(command)
    examples(command, [
      'tenantctl rollback acme --steps 1',
      'tenantctl rollback --all --to 20260103_add_labels --yes',
      'tenantctl rollback --run r_0mk3vq8z1abc',
    ])
  },
  read(command) {
    const { to, steps, run } = command.opts()
    if ([to, steps, run].filter(given => given !== undefined).length !== 1) {
      throw new CliError('USAGE', 'give one of --to <migration>, --steps <n> and --run <id>')
    }
    const rollout = readRollout(command)
    if (run !== undefined) return { selection: readOptionalSelection(command), target: { run }, rollout }
    return { selection: readSelection(command), target: to === undefined ? { steps } : { to }, rollout }
  },
  async run(input, context) {
    const { target } = input
    const selection = input.selection ? await toSelection(input.selection, context.io) : null
    const expect = selection ? await confirmFleet(context, selection, 'rolling back') : undefined
    if (!selection && 'run' in target) await confirmRun(context, target.run)
    const { migrations } = await context.tenancy()
    const confirmed = expect === undefined ? {} : { expect }
    return await migrations.rollback(selection, {
      ...input.rollout,
      ...target,
      ...confirmed,
      ...context.fleetOptions(),
    })
  },
  text: fleetText,
  exitCode: fleetExitCode,
})

async function confirmRun(context: CliContext, id: string): Promise<void> {
  if (context.options.yes) return
  requireInteractive(context, `undoing run ${id}`)
  const run = await (await context.tenancy()).runs.get(id)
  const changed = run.tenants.filter(each => each.applied.length > 0 || each.status === 'interrupted').length
  const what = `undoing run ${run.id} (${run.command}, ${formatTime(run.startedAt)}) on ${plural(changed, 'tenant')}`
  await confirmByRetyping(context, { what: `${what}; ${await registryInWords(context)}`, expected: String(changed) })
}
