/** A database that is being made: whoever tries to get in, at whatever moment, stays outside. */
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { everySetting } from './support.ts'

/** No such database yet; takes no connections; no right to connect. */
const refusals = ['3D000', '55000', '42501']

describe.each(everySetting())('while a $admin admin makes a tenant, roles $roles', ({ admin, roles }) => {
  const namespace = useNamespace({ admin })
  let tenancy: Tenancy
  let attacker: string

  beforeAll(async () => {
    namespace.writeMigrations({ '001.sql': 'CREATE TABLE notes (id int)' })
    tenancy = namespace.track(createTenancy(namespace.config({ roles })))
    await tenancy.tenants.create({ name: 'Attacker' })
    attacker = (await tenancy.tenants.url('attacker', { role: 'migrator' })).reveal()
  })

  afterAll(() => tenancy.close())

  test.each([
    ['from nothing', false],
    ['from a template, or into that', true],
  ])('another tenant never gets into a database that there is, made %s', async (_how, template) => {
    const making = namespace.track(createTenancy(namespace.config({ roles, template })))
    const made = template ? ['three', 'four'] : ['one', 'two']
    const gate = await holdComments(namespace.superUrl)
    const seen = new Map<string, Set<string>>()
    let done = false
    const attack = async () => {
      while (!done) {
        for (const name of await newDatabases(gate.client, namespace.prefix)) {
          const login = await tryLogin(urlWith(attacker, { database: name }))
          const outcomes = seen.get(name) ?? new Set()
          seen.set(name, outcomes.add(login.ok ? 'let in' : login.code))
        }
        await sleep(1)
      }
    }
    const passing = () => [...seen.keys()].filter(name => name.startsWith('tenantctl_new_')).length
    let releasing: Promise<void> | undefined
    const attacks = [attack(), attack()]
    try {
      // Builds the template, which the gate would hold up.
      if (template) await making.tenants.create({ name: 'first' })
      for (const name of made) {
        await making.tenants.create(
          { name },
          {
            onEvent: event => {
              // The passing database is there, and cannot be marked and renamed before it was attacked.
              if (event.event !== 'step_started' || event.step !== 'createDatabase') return
              const before = passing()
              releasing = gate.hold().then(async () => {
                const until = Date.now() + 5_000
                while (passing() === before && Date.now() < until) await sleep(10)
                await gate.release()
              })
            },
          },
        )
        await releasing
        const until = Date.now() + 5_000
        while (!seen.has(namespace.tenantPrefix + name) && Date.now() < until) await sleep(10)
      }
    } finally {
      done = true
      await Promise.all(attacks)
      await gate.close()
      await making.close()
    }
    const names = [...seen.keys()]
    expect(passing()).toBeGreaterThanOrEqual(2)
    expect(names).toEqual(expect.arrayContaining(made.map(name => namespace.tenantPrefix + name)))
    expect(names.some(name => name.startsWith('tenantctl_template_'))).toBe(template)
    expect(
      [...seen].flatMap(([name, codes]) =>
        [...codes].filter(code => !refusals.includes(code)).map(code => [name, code]),
      ),
    ).toEqual([])
  })

  test('nor does anybody into the registry that is being made', async () => {
    const second = namespace.registryUrl.replace('_registry', '_registry2')
    const other = namespace.track(createTenancy(namespace.config({ registry: { url: second } })))
    const attempts: string[] = []
    let done = false
    const attack = (async () => {
      while (!done) {
        const login = await tryLogin(urlWith(attacker, { database: `${namespace.prefix}_registry2` }))
        attempts.push(login.ok ? 'let in' : login.code)
      }
    })()
    await other.registry.install()
    await sleep(50)
    done = true
    await attack
    expect(attempts).toContain('42501')
    expect(attempts.filter(code => !refusals.includes(code))).toEqual([])
    await other.close()
  })
})

/** Comments on databases and roles wait while it holds: reading them does not. */
async function holdComments(superUrl: string) {
  const client = new pg.Client({ connectionString: superUrl })
  const holder = new pg.Client({ connectionString: superUrl })
  await Promise.all([client.connect(), holder.connect()])
  return {
    client,
    hold: () => holder.query('BEGIN; LOCK TABLE pg_catalog.pg_shdescription IN SHARE MODE').then(() => undefined),
    release: () => holder.query('COMMIT').then(() => undefined),
    close: () => Promise.all([client.end(), holder.end()]),
  }
}

async function newDatabases(client: pg.Client, prefix: string): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT datname::text AS name FROM pg_database d JOIN pg_roles r ON r.oid = datdba
      WHERE rolname = $1 || '_admin' AND datname <> $1 || '_registry' AND datname !~ 'attacker$'`,
    [prefix],
  )
  return rows.map(row => row.name)
}
