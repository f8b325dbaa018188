import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { sql, tryLogin } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { runBin, startBin } from '../support/process.ts'
import { writeFolders } from './commands.ts'
import { announce, randomFrom, seed } from './sampling.ts'
import { expectClean, problems } from './sweep.ts'

/*
 * Several people at work on the same few tenants, each with the command line, and each is killed again and again.
 * TENANTCTL_FAULTS_KILLS (50): how often. Which command comes when, and is killed when, follows from the seed; how they
 * meet does not, so that a failure may take a few runs with the same seed to come back.
 */

const kills = Number(process.env.TENANTCTL_FAULTS_KILLS ?? 50)
const writers = 3
const slugs = ['anna', 'bert', 'carla', 'dora', 'emil']

const commands: Record<string, { args(slug: string): string[]; weight: number }> = {
  create: { args: slug => ['create', slug], weight: 8 },
  drop: { args: slug => ['drop', slug, '--yes', '--force'], weight: 4 },
  retain: { args: slug => ['drop', slug, '--yes', '--force', '--retain', '1d'], weight: 2 },
  undrop: { args: slug => ['undrop', slug], weight: 2 },
  migrate: { args: () => ['migrate', '--all'], weight: 3 },
  suspend: { args: slug => ['suspend', slug], weight: 2 },
  resume: { args: slug => ['resume', slug], weight: 2 },
  rotate: { args: slug => ['rotate-password', slug, '--yes'], weight: 3 },
  repair: { args: () => ['repair'], weight: 1 },
}

/** Done; no such tenant (any more); in a state that forbids it, or locked; the same of a tenant in a fleet command. */
const usual = [0, 3, 4, 5]

interface Run {
  command: string
  slug: string
  startedAt: number
  endedAt: number
  killed: boolean
  exitCode: number | undefined
  output: string
  /** Id of the tenant that it reported as made. */
  created: string | undefined
}

const namespace = useNamespace()
let tenancy: Tenancy
let config: string

beforeAll(async () => {
  announce(`random kills, ${kills} of them`)
  writeFolders(namespace)
  config = namespace.writeConfig()
  tenancy = namespace.track(createTenancy(namespace.config()))
  await tenancy.registry.install()
})

test('tenants and servers agree after any number of kills', { timeout: 120_000 + kills * 15_000 }, async () => {
  const before = await problems(tenancy)
  const runs: Run[] = []
  /** How long a command is at work when nobody kills it, from its first word on. */
  const typical = new Map<string, number>()
  let killed = 0

  async function write(writer: number): Promise<void> {
    const random = randomFrom(seed + writer)
    const bag = Object.entries(commands).flatMap(([name, { weight }]) => Array<string>(weight).fill(name))
    while (killed < kills) {
      const command = bag[Math.floor(random() * bag.length)] as string
      const slug = slugs[Math.floor(random() * slugs.length)] as string
      const [when, how] = [random(), random()]
      const run = await oneRun(command, slug, when, how < 0.8 ? 'at work' : 'anywhere', typical)
      if (run.killed) killed += 1
      runs.push(run)
    }
  }
  await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)))

  expect(runs.filter(run => !run.killed && !usual.includes(run.exitCode ?? -1))).toEqual([])
  const repair = await runBin(['repair', '--config', config, '--json'], { timeout: 120_000 })
  // What it could not finish is in its result.
  const said = repair.exitCode === 0 ? repair.stderr : repair.all
  expect({ exitCode: repair.exitCode, said }).toEqual({ exitCode: 0, said: '' })
  await expectClean(namespace, tenancy, before)
  await expectUsable(tenancy)
  await expectKept(tenancy, runs)
  const mix = Object.keys(commands).map(name => `${name} ${runs.filter(run => run.command === name).length}`)
  console.info(`${runs.length} runs, ${killed} killed: ${mix.join(', ')}`)
})

async function oneRun(
  command: string,
  slug: string,
  when: number,
  how: 'at work' | 'anywhere',
  typical: Map<string, number>,
): Promise<Run> {
  const startedAt = Date.now()
  const args = [...(commands[command]?.args(slug) ?? []), '--config', config, '--output', 'ndjson', '--no-input']
  const running = startBin(args, { input: '', timeout: 120_000 })
  let spokeAt = startedAt
  const spoke = running.waitFor(/\S/).then(
    () => {
      spokeAt = Date.now()
    },
    () => undefined,
  )
  const timer = new AbortController()
  const { signal } = timer
  const until = async () => {
    if (how === 'at work') await spoke
    // A little longer than it takes: some are to come to their end.
    await sleep(when * 1.4 * ((typical.get(command) ?? 400) + (how === 'at work' ? 0 : 400)), undefined, { signal })
    running.kill('SIGKILL')
  }
  const killing = until().catch(() => undefined)
  const result = await running.done
  timer.abort()
  await killing
  const killed = result.signal === 'SIGKILL'
  const endedAt = Date.now()
  if (!killed) typical.set(command, ((typical.get(command) ?? endedAt - spokeAt) + endedAt - spokeAt) / 2)
  const finished = /^\{"event":"finished".*\}$/m.exec(result.stdout)?.[0]
  const created = command === 'create' && finished ? (JSON.parse(finished) as { id: string }).id : undefined
  return { command, slug, startedAt, endedAt, killed, exitCode: result.exitCode, output: result.all, created }
}

/** Whoever is active can log in and finds his table; who is suspended cannot, until he is resumed. */
async function expectUsable(tenancy: Tenancy): Promise<void> {
  for (const { slug, status } of await tenancy.tenants.list()) {
    const url = (await tenancy.tenants.url(slug)).reveal()
    if (status === 'suspended') {
      expect((await tryLogin(url)).ok).toBe(false)
      await tenancy.tenants.resume({ tenants: [slug] })
    }
    expect(await sql(url, 'SELECT text FROM notes ORDER BY text')).toEqual([{ text: 'a' }, { text: 'b' }])
  }
}

/** What was reported as made, and not dropped after, is there: the very tenant, not another of the same name. */
async function expectKept(tenancy: Tenancy, runs: readonly Run[]): Promise<void> {
  const removers = runs.filter(run => run.command === 'drop' || run.command === 'retain')
  const tenants = new Map((await tenancy.tenants.list()).map(tenant => [tenant.id, tenant]))
  for (const { created, slug, endedAt } of runs) {
    if (created === undefined || removers.some(run => run.slug === slug && run.endedAt > endedAt)) continue
    expect(tenants.get(created)).toMatchObject({ slug })
  }
}
