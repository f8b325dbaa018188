import type { Command } from 'commander'
import type { FleetResult } from '../fleet/result.ts'
import type { Selection } from '../fleet/selection.ts'
import type { Tenancy } from '../index.ts'
import { type CommandModule, defineCommand, examples } from './command.ts'
import { confirmFleet } from './confirm-fleet.ts'
import type { CliContext } from './context.ts'
import { selectionExitCode, selectionFailure } from './exit-codes.ts'
import {
  concurrencyOptions,
  type RolloutInput,
  readRollout,
  readSelection,
  type SelectionInput,
  selectionOptions,
  toSelection,
} from './options.ts'
import { fleetText } from './output/fleet.ts'

export interface FleetInput<Options> {
  selection: SelectionInput
  options: RolloutInput & Options
}

type RunOptions<Options> = RolloutInput &
  Options & { expect?: number | readonly string[] } & ReturnType<CliContext['fleetOptions']>

/** A command that does one thing to each tenant of a selection and has little else to say. */
export function fleetCommand<Options extends object>(what: {
  /** Options beside those of every selection. */
  configure?(command: Command): void
  read?(options: Record<string, unknown>): Options
  examples: readonly string[]
  /** Begins the question, as in "rotating the password of", and the refusal to do it unasked; without it nobody is asked. */
  confirm?: { doing: string; refusal: string }
  run(tenancy: Tenancy, selection: Selection, options: RunOptions<Options>): Promise<FleetResult>
  /** Default: that of the tenant's own error when just one was named. */
  exitCode?(result: FleetResult): number
}): CommandModule<FleetInput<Options>, FleetResult> {
  return defineCommand<FleetInput<Options>, FleetResult>({
    configure(command) {
      concurrencyOptions(selectionOptions(command))
      what.configure?.(command)
      examples(command, what.examples)
    },
    read(command) {
      const own = what.read?.(command.opts()) ?? ({} as Options)
      return { selection: readSelection(command), options: { ...readRollout(command), ...own } }
    },
    async run(input, context) {
      const selection = await toSelection(input.selection, context.io)
      const { confirm } = what
      const expect = confirm && (await confirmFleet(context, selection, confirm.doing, { refusal: confirm.refusal }))
      const confirmed = expect === undefined ? {} : { expect }
      const tenancy = await context.tenancy()
      return await what.run(tenancy, selection, { ...input.options, ...confirmed, ...context.fleetOptions() })
    },
    text: fleetText,
    failure: (result, { selection }) => selectionFailure(result, selection),
    exitCode: (result, { selection }) => what.exitCode?.(result) ?? selectionExitCode(result, selection),
  })
}
