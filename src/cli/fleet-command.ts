import type { Command } from 'commander'
import type { FleetResult } from '../fleet/result.ts'
import type { Selection } from '../fleet/selection.ts'
import type { Tenancy } from '../index.ts'
import { type CommandModule, defineCommand, examples } from './command.ts'
import { confirmFleet } from './confirm-fleet.ts'
import type { CliContext } from './context.ts'
import { fleetExitCode, selectionExitCode, selectionFailure } from './exit-codes.ts'
import {
  concurrencyOptions,
  type FleetInput,
  type RolloutInput,
  readFleet,
  selectionOptions,
  toSelection,
} from './options.ts'
import { fleetText } from './output/fleet.ts'

type RunOptions<Options> = RolloutInput &
  Options & { expect?: number | readonly string[] } & ReturnType<CliContext['fleetOptions']>

/** A command that does one thing to each tenant of a selection and has little else to say. */
export function fleetCommand<Options extends object>(what: {
  /** How it goes about its tenants. Default: as `concurrencyOptions` says. */
  rollout?(command: Command): Command
  /** Options beside these. */
  configure?(command: Command): void
  read?(options: Record<string, unknown>): Options
  examples: readonly string[]
  /** Begins the question, as in "rotating the password of", and the refusal to do it unasked; without it nobody is asked. */
  confirm?: { doing: string; refusal: string }
  run(tenancy: Tenancy, selection: Selection, options: RunOptions<Options>): Promise<FleetResult>
  /** One tenant that was named is a fleet as well. Default: what it failed with is the command's own error. */
  alwaysFleet?: true
}): CommandModule<FleetInput & { own: Options }, FleetResult> {
  const { rollout = concurrencyOptions, alwaysFleet = false } = what
  return defineCommand<FleetInput & { own: Options }, FleetResult>({
    configure(command) {
      rollout(selectionOptions(command))
      what.configure?.(command)
      examples(command, what.examples)
    },
    read(command) {
      return { ...readFleet(command), own: what.read?.(command.opts()) ?? ({} as Options) }
    },
    async run(input, context) {
      const selection = await toSelection(input.selection, context.io)
      const { confirm } = what
      const expect = confirm && (await confirmFleet(context, selection, confirm.doing, { refusal: confirm.refusal }))
      const confirmed = expect === undefined ? {} : { expect }
      const options = { ...input.rollout, ...input.own, ...confirmed, ...context.fleetOptions() }
      return await what.run(await context.tenancy(), selection, options)
    },
    text: fleetText,
    failure: (result, { selection }) => (alwaysFleet ? undefined : selectionFailure(result, selection)),
    exitCode: (result, { selection }) => (alwaysFleet ? fleetExitCode(result) : selectionExitCode(result, selection)),
  })
}
