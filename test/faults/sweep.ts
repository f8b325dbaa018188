/** One command, stopped at every statement that it sends, and what repair makes of it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import {
  createTenancy,
  type FleetResult,
  isTenancyError,
  type Tenancy,
  type TenancyConfig,
  TenancyError,
} from '../../src/index.ts'
import type { Namespace } from '../support/namespace.ts'
import { catalogs } from './catalogs.ts'
import { deaths, type Ending, type Fault, live, losses } from './life.ts'
import { liveInProcess } from './process-life.ts'
import { sample } from './sampling.ts'

export interface Command {
  name: string
  /** Over the namespace's own configuration. */
  config?: TenancyConfig
  /** Brings the tenant to where the command begins, from wherever the last case has left it. */
  ready(tenancy: Tenancy, slug: string): Promise<unknown>
  run(tenancy: Tenancy, slug: string): Promise<unknown>
  /** The same on the command line. */
  args(slug: string): string[]
  /** Does it, for half of the cases, before anything is repaired: the command itself goes on where it was stopped. */
  again?(tenancy: Tenancy, slug: string): Promise<unknown>
  /** The tenant is as it was before the command, or as it is after it, and whole. */
  verify(tenancy: Tenancy, slug: string): Promise<void>
}

/** `program`: a tenancy in this process; `process`: the command line, which dies by SIGKILL. */
export type Stage = 'program' | 'process'

/**
 * Counts the statements of the command, then stops it at each of them, in each way; `usual` of these cases unless all
 * are asked for. After each one it repairs, and looks at everything.
 */
export async function sweep(namespace: Namespace, command: Command, stage: Stage, usual: number): Promise<string> {
  const config = namespace.config(command.config)
  const file = namespace.writeConfig(command.config)
  const stopped = (fault?: Fault): Promise<Ending<unknown>> =>
    stage === 'program'
      ? liveInProgram(config, fault, own => command.run(own, slug))
      : liveInProcess(namespace, file, command.args(slug), fault)
  const moments = stage === 'program' ? [...deaths, ...losses] : deaths
  const tenancy = namespace.track(createTenancy(config))
  const before = await problems(tenancy)
  const slug = command.name
  await command.ready(tenancy, slug)
  const whole = await stopped()
  if (whole.kind === 'threw') throw whole.error
  await command.verify(tenancy, slug)

  const faults = Array.from({ length: whole.sent }, (_, index) => index + 1).flatMap(at =>
    moments.map(moment => ({ at, moment })),
  )
  const cases = sample(faults, usual, command.name)
  const endings = { died: 0, threw: 0, returned: 0 }
  for (const [index, fault] of cases.entries()) {
    await command.ready(tenancy, slug)
    const ending = await stopped(fault)
    endings[ending.kind] += 1
    if (ending.kind === 'died') await atRest(namespace)
    try {
      if (ending.kind === 'threw' && stage === 'program') refuseNonsense(ending.error)
      if (index % 2 === 0) await command.again?.(tenancy, slug)
      await repairAll(tenancy)
      await expectClean(namespace, tenancy, before)
      await command.verify(tenancy, slug)
    } catch (error) {
      const told = ending.kind === 'threw' ? ` (it said: ${(ending.error as Error).message})` : ''
      const where = `${command.name} at statement ${fault.at}, ${fault.moment}: ${ending.statement}${told}`
      throw new Error(`${where}\n${(error as Error).message}`, { cause: error })
    }
  }
  const { died, threw, returned } = endings
  return `${command.name}: ${whole.sent} statements, ${cases.length} of ${faults.length} cases: ${died} died, ${threw} failed, ${returned} went on`
}

export async function repairAll(tenancy: Tenancy): Promise<void> {
  const { tenants, leftovers, unreachable } = await tenancy.repair()
  expect(tenants.filter(each => each.status === 'failed' || each.status === 'skipped')).toEqual([])
  expect(leftovers.filter(each => each.status !== 'removed')).toEqual([])
  expect(unreachable).toEqual([])
}

/** Nothing is left that the registry does not know, or the other way round; nothing counts as running. */
export async function expectClean(namespace: Namespace, tenancy: Tenancy, before: string[] = []): Promise<void> {
  const { actual, expected } = await catalogs(namespace)
  expect(actual).toEqual(expected)
  expect(await problems(tenancy)).toEqual(before)
  const operations = await tenancy.operations.list({ limit: 1_000_000 })
  expect(operations.filter(each => each.status === 'running')).toEqual([])
  expect(await tenancy.repair()).toMatchObject({ succeeded: 0, failed: 0, skipped: 0, leftovers: [] })
}

/** What doctor finds; what it says of the server as a whole is the same before and after. */
export async function problems(tenancy: Tenancy): Promise<string[]> {
  const { checks } = await tenancy.doctor()
  return checks.filter(({ status }) => status === 'problem').map(({ check, message }) => `${check}: ${message}`)
}

/**
 * What the dead had sent to the registry, and the end of their sessions, is a matter of milliseconds, and nobody comes to
 * repair that fast: a repair which reads the journal meanwhile, or takes them for alive by the lock of a tenant's
 * database, would have to be run again.
 */
async function atRest(namespace: Namespace): Promise<void> {
  const isBusy = async () => {
    const sessions = await namespace.sessions()
    if (sessions.some(each => each.database?.endsWith('_registry') && each.state === 'active')) return true
    const locks = await namespace.superSql(
      `SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE l.locktype = 'advisory' AND starts_with(d.datname, $1)`,
      [namespace.tenantPrefix],
    )
    return locks.length > 0
  }
  for (const deadline = Date.now() + 5_000; Date.now() < deadline && (await isBusy()); ) await sleep(10)
}

/** Runs `work` with a tenancy of its own, up to the fault. */
async function liveInProgram<T>(
  config: TenancyConfig,
  fault: Fault | undefined,
  work: (tenancy: Tenancy) => Promise<T>,
): Promise<Ending<T>> {
  const own = createTenancy(config)
  const ending = await live(fault, () => work(own))
  // The dead do not say goodbye.
  if (ending.kind !== 'died') await own.close()
  return ending
}

/** The one tenant's outcome as an exception, which a fleet command does not throw. */
export async function single(running: Promise<FleetResult>): Promise<void> {
  const { tenants } = await running
  for (const { tenant, status, error, reason } of tenants) {
    if (error) throw new TenancyError(error.code, error.message, error)
    if (status === 'skipped') throw new Error(`${tenant} was skipped: ${reason}`)
  }
}

/** Whoever runs the command must learn what happened, in words that are meant for him. */
function refuseNonsense(error: unknown): void {
  if (isTenancyError(error) && error.code !== 'INTERNAL') return
  throw new Error('it ended with an error that tells nothing', { cause: error })
}
