import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { tryLogin } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { writeFolders } from './commands.ts'
import { type Fault, live, type Moment } from './life.ts'
import { type Action, actions, copyOf, type Model, outcomeOf, read } from './model.ts'
import { announce, everything, factor, seed } from './sampling.ts'
import { expectClean, problems, repairAll } from './sweep.ts'

/* The life cycle of a few tenants, as chance has it, against a model in memory; a failure is shrunk by fast-check. */

const namespace = useNamespace({ allowSessions: true })
let tenancy: Tenancy

beforeAll(async () => {
  announce('model')
  writeFolders(namespace)
  tenancy = namespace.track(createTenancy(namespace.config()))
  await tenancy.registry.install()
})

/** Done as told, or refused as told. */
class Whole implements fc.AsyncCommand<Model, Tenancy> {
  constructor(
    private readonly action: Action,
    private readonly slug: string,
  ) {}
  check = () => true
  async run(model: Model, real: Tenancy): Promise<void> {
    expect(await outcomeOf(this.action.run(real, this.slug))).toBe(this.action.model(model, this.slug))
    await expectAgreement(model, real)
  }
  toString = () => `${this.action.name} ${this.slug}`
}

/** The program dies, or its connection does: after a repair it is done, or as if it had never been begun. */
class Crash implements fc.AsyncCommand<Model, Tenancy> {
  constructor(
    private readonly action: Action,
    private readonly slug: string,
    private readonly fault: Fault,
  ) {}
  check = () => true
  async run(model: Model, real: Tenancy): Promise<void> {
    const own = createTenancy(namespace.config())
    const ending = await live(this.fault, () => this.action.run(own, this.slug))
    if (ending.kind !== 'died') await own.close()
    await repairAll(real)
    const before = copyOf(model)
    this.action.model(model, this.slug)
    const found = await read(real)
    expect([before, copyOf(model)]).toContainEqual(found)
    Object.assign(model, copyOf(found))
    await expectAgreement(model, real)
  }
  toString = () => `crash of ${this.action.name} ${this.slug} at statement ${this.fault.at}, ${this.fault.moment}`
}

const slugs = fc.constantFrom('anna', 'bert')
const action = fc.constantFrom(...actions)
// A statement later than the last one is a command that is let be.
const fault = fc.record({
  at: fc.integer({ min: 1, max: 60 }),
  moment: fc.constantFrom<Moment>('before', 'after', 'cut', 'lost'),
})
const commands = [
  fc.tuple(action, slugs).map(([each, slug]) => new Whole(each, slug)),
  fc.tuple(action, slugs, fault).map(([each, slug, at]) => new Crash(each, slug, at)),
]

test('tenants live as the model does', { timeout: everything ? 7_200_000 : 300_000 * factor }, async () => {
  const before = await problems(tenancy)
  const maxCommands = everything ? 40 : 12
  await fc.assert(
    fc
      .asyncProperty(fc.commands(commands, { maxCommands, size: 'max' }), async sequence => {
        await fc.asyncModelRun(() => ({ model: { live: new Map(), kept: new Map() }, real: tenancy }), sequence)
        await expectClean(namespace, tenancy, before)
      })
      .afterEach(forgetAll),
    { numRuns: everything ? 500 : 4 * factor, seed, endOnFailure: !everything },
  )
})

async function expectAgreement(model: Model, real: Tenancy): Promise<void> {
  expect(await read(real)).toEqual(model)
  for (const [slug, { status }] of model.live) {
    expect((await tryLogin((await real.tenants.url(slug)).reveal())).ok).toBe(status === 'active')
  }
}

async function forgetAll(): Promise<void> {
  await tenancy.repair()
  for (const { id } of await tenancy.tenants.retained()) {
    await tenancy.tenants.undrop(id, { slug: `back-${id.slice(0, 8)}` })
  }
  await tenancy.tenants.unprotect({ all: true })
  await tenancy.tenants.drop({ all: true }, { force: true, retain: false })
}
