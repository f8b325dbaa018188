import { pathToFileURL } from 'node:url'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createTenancy, Secret, type Tenancy } from '../../src/index.ts'
import { withoutKey } from '../../src/postgres/scram.ts'
import { keyRing } from '../../src/secrets/cipher.ts'
import { sample } from '../faults/sampling.ts'
import { tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { binFile, runBin } from '../support/process.ts'

/**
 * A process that kills itself when it is told that the n-th step begins, or that the last one has ended: nothing happens
 * between a step's end and the next one's beginning. The library has nothing in it for this test.
 */
const program = `
import { createTenancy } from ${JSON.stringify(pathToFileURL(binFile.replace('bin/tenantctl.js', 'dist/index.js')).href)}
const { config, method, args, moment, last } = JSON.parse(process.argv[2])
let count = 0
const onEvent = ({ event }) => {
  if (event === 'step_started' && count++ === moment) process.kill(process.pid, 'SIGKILL')
  if (event === 'step_finished' && moment === last && count === last) process.kill(process.pid, 'SIGKILL')
}
const tenancy = createTenancy({ ...config, onEvent })
await tenancy.tenants[method](...args)
await tenancy.close()
`

const acme = { tenants: ['acme'] }
type Call = [method: 'suspend' | 'resume' | 'drop' | 'undrop' | 'rotatePassword' | 'purge', ...args: unknown[]]

const suspend: Call = ['suspend', acme]
const resume: Call = ['resume', acme]
const retain: Call = ['drop', acme, { retain: '7d', force: true }]
const remove: Call = ['drop', acme, { retain: false, force: true }]
const undrop: Call = ['undrop', 'acme']
const rotate: Call = ['rotatePassword', acme]
const purge: Call = ['purge']

type State = 'active' | 'suspended' | 'retained' | 'gone'

/** From a state, a command that is killed, then the one that mends it, and the state that this leads to. */
const stories: [from: State, killed: Call, steps: number, mended: Call, to: State][] = [
  ['active', suspend, 2, suspend, 'suspended'],
  ['active', suspend, 2, resume, 'active'],
  ['active', suspend, 2, retain, 'retained'],
  ['suspended', resume, 2, resume, 'active'],
  ['suspended', resume, 2, suspend, 'suspended'],
  ['active', retain, 4, retain, 'retained'],
  ['active', retain, 4, undrop, 'active'],
  ['active', retain, 4, remove, 'gone'],
  ['retained', undrop, 4, undrop, 'active'],
  ['retained', undrop, 4, retain, 'retained'],
  ['retained', undrop, 4, remove, 'gone'],
  ['active', rotate, 5, rotate, 'active'],
  ['active', rotate, 5, suspend, 'suspended'],
  ['retained', purge, 8, purge, 'gone'],
]

const name = ([method, , options]: Call) => `${method}${options ? ` ${JSON.stringify(options)}` : ''}`

// The way through roles of their own differs in the steps' insides alone.
describe.each(['single', 'separate'] as const)('a run that is killed, roles: %s', roles => {
  const namespace = useNamespace({ admin: roles === 'separate' ? 'superuser' : 'plain' })
  let tenancy: Tenancy
  let file: string

  beforeAll(() => {
    namespace.writeMigrations({ '001.sql': 'CREATE TABLE notes (body text)' })
    file = namespace.writeFile('killed.mjs', program)
    tenancy = namespace.track(createTenancy(namespace.config({ roles })))
  })

  beforeEach(async () => {
    await tenancy.tenants.drop({ all: true }, { force: true })
    await purgeAll()
    expect(await namespace.leftovers()).toEqual({ databases: [], roles: [] })
  })

  const registry = <Row extends object>(text: string) => namespace.sql<Row>(text, [], `${namespace.prefix}_registry`)

  const expire = () => registry('UPDATE tenantctl.tenants SET retained_until = now() WHERE retained_until IS NOT NULL')

  async function purgeAll(): Promise<void> {
    await expire()
    expect((await tenancy.tenants.purge({ max: 100 })).failed).toBe(0)
  }

  /** What a call did; a fleet's failures are thrown. */
  async function call([method, ...args]: Call): Promise<void> {
    const run = tenancy.tenants[method] as (...args: unknown[]) => Promise<{ failed?: number }>
    const result = await run.apply(tenancy.tenants, args)
    if (result.failed) throw new Error(JSON.stringify(result))
  }

  async function start(state: State): Promise<void> {
    await tenancy.tenants.create({ name: 'Acme' })
    await (await tenancy.connections.get('acme')).table('notes').insert({ body: 'kept' })
    if (state === 'suspended') await call(suspend)
    if (state === 'retained') await call(retain)
  }

  async function killAt(moment: number, last: number, [method, ...args]: Call): Promise<void> {
    const input = { config: namespace.config({ roles }), method, args, moment, last }
    const result = await runBin([JSON.stringify(input)], { file })
    expect(result, result.all).toMatchObject({ signal: 'SIGKILL', timedOut: false })
  }

  /** Holds at every instant, also right after a death. */
  async function checkInvariants(): Promise<void> {
    const [row] = await registry<Record<string, string | null>>('SELECT * FROM tenantctl.tenants')
    if (!row) return
    const running = (await tenancy.operations.list({ limit: 1 })).some(each => each.status === 'running')
    const login = { user: row.db_username as string, database: row.db_name as string }
    const passwords = [row.db_password, row.db_password_next].filter(sealed => sealed != null)
    const opened = await Promise.all(
      passwords.map(sealed => keyRing([new Secret(namespace.encryptionKey)]).open(sealed, `${row.uuid}|db_password`)),
    )
    const logins = await Promise.all(
      opened.map(sealed => tryLogin(urlWith(namespace.adminUrl, { ...login, password: withoutKey(sealed).reveal() }))),
    )
    const gotIn = logins.some(each => each.ok)
    // Whatever does not agree with what is recorded has a journal that points at it.
    if (row.status === 'active' && !gotIn) expect(running).toBe(true)
    if (row.status !== 'active' && gotIn) expect(running).toBe(true)
    // One of the recorded passwords is the one that the server knows: to nobody it says that both are wrong.
    if (row.status === 'active')
      expect(logins.map(each => (each.ok ? 'ok' : each.code))).not.toEqual(logins.map(() => '28P01'))
  }

  async function checkEnd(state: State): Promise<void> {
    await checkInvariants()
    await checkState(state)
    const operations = await tenancy.operations.list({ limit: 1000 })
    expect(operations.filter(each => each.status === 'running')).toEqual([])
  }

  async function checkState(state: State): Promise<void> {
    if (state === 'gone') {
      expect(await namespace.leftovers()).toEqual({ databases: [], roles: [] })
      expect(await registry('SELECT slug FROM tenantctl.tenants')).toEqual([])
      return
    }
    if (state === 'retained') {
      expect(await tenancy.tenants.list()).toEqual([])
      expect(await tenancy.tenants.retained()).toHaveLength(1)
      await call(undrop)
    }
    if (state === 'suspended' || (state === 'retained' && (await tenancy.tenants.get('acme')).status === 'suspended')) {
      await expect(tenancy.connections.get('acme')).rejects.toMatchObject({ code: 'TENANT_SUSPENDED' })
      await call(resume)
    }
    expect((await tenancy.tenants.get('acme')).status).toBe('active')
    expect(await (await tenancy.connections.get('acme')).table('notes')).toEqual([{ body: 'kept' }])
    expect(await tenancy.migrations.run(acme, { verify: true })).toMatchObject({ upToDate: 1 })
    const { databases } = await namespace.leftovers()
    expect(databases).toEqual([`${namespace.tenantPrefix}acme`])
  }

  const told = stories.filter(([, killed, , mended]) => {
    return roles === 'single' || (killed === retain && mended === undrop) || (killed === rotate && mended === rotate)
  })
  test.each(told.map(story => [story[0], name(story[1]), name(story[3]), story] as const))(
    '%s, %s, then %s',
    { timeout: 240_000 },
    async (from, killedName, _mended, [, killed, steps, mended, to]) => {
      const moments = Array.from({ length: steps + 1 }, (_, moment) => moment)
      for (const moment of sample(moments, 2, killedName)) {
        await start(from)
        if (killed === purge) await expire()
        await killAt(moment, steps, killed)
        await checkInvariants()
        const kept = (await tenancy.tenants.retained()).length > 0
        const active = (await tenancy.tenants.list({ status: 'active' })).length > 0
        // Too early or too late to be mended so: the command says that there is no such tenant, or purge has its turn.
        if (kept && mended === remove) await purgeAll()
        else if ((kept && mended === retain) || (active && mended === undrop))
          await expect(call(mended)).rejects.toThrow()
        else await call(mended)
        await tenancy.repair()
        await checkEnd(to)
        await tenancy.tenants.drop({ all: true }, { force: true })
      }
    },
  )
})
