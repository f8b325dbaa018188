import pg from 'pg'
import { beforeEach, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy, type TenancyConfig } from '../../src/index.ts'
import { lockKey } from '../../src/postgres/locks.ts'
import { templateDifferences } from '../../src/provisioning/template-differences.ts'
import type { TemplateContents } from '../../src/registry/built-templates.ts'
import { live } from '../faults/life.ts'
import { sql } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace({ allowSessions: true })
const old = { '001_a.sql': 'CREATE TABLE a (id serial PRIMARY KEY, x text)' }
const newer = { ...old, '002_b.sql': 'CREATE TABLE b (x int)' }

function open(config: TenancyConfig = {}): Tenancy {
  return namespace.track(createTenancy(namespace.config({ template: true, ...config })))
}

/** Databases and roles of templates. */
async function templates(): Promise<{ databases: string[]; roles: string[] }> {
  const [found] = await namespace.superSql<{ databases: string[]; roles: string[] }>(
    `SELECT ARRAY(SELECT datname::text FROM pg_database WHERE datdba = $1::regrole AND datname ~ '^tenantctl_template_') AS databases,
            ARRAY(SELECT DISTINCT roleid::regrole::text FROM pg_auth_members
                   WHERE member = $1::regrole AND roleid::regrole::text ~ '^tenantctl_') AS roles`,
    [`${namespace.prefix}_admin`],
  )
  return found as { databases: string[]; roles: string[] }
}

async function told(tenancy: Tenancy, fix = false): Promise<{ status: string; message: string; fixed?: true }[]> {
  return (await tenancy.doctor({ fix })).checks.filter(({ check }) => check === 'template')
}

describe('an old template', () => {
  let fixing: Tenancy
  let made = 0

  beforeEach(async () => {
    namespace.writeMigrations(old)
    const first = open()
    made += 1
    await first.tenants.create({ name: `first-${made}` })
    await first.close()
    namespace.writeMigrations(newer)
    fixing = open()
  })

  test('is not removed from under a copy that was left half-made', async () => {
    namespace.writeMigrations(old)
    const dying = createTenancy(namespace.config({ template: true }))
    const moment = { at: 'GRANT CONNECT', moment: 'before' } as const
    expect(await live(moment, () => dying.tenants.create({ name: 'half' }))).toMatchObject({ kind: 'died' })
    namespace.writeMigrations(newer)
    const [name] = (await templates()).databases as [string]
    expect(await told(fixing, true)).toMatchObject([
      {
        status: 'warning',
        fixed: true,
        message: expect.stringMatching(new RegExp(`^template "${name}" .* it lacks migration 002_b.sql`)),
      },
    ])
    // At that moment the copy's tables were still its role's.
    expect(await templates()).toEqual({ databases: [], roles: [name] })
    // The same doctor has finished it after that.
    expect(await fixing.tenants.get('half')).toMatchObject({ status: 'active', schemaVersion: '002_b' })
    expect(await sql((await fixing.tenants.url('half')).reveal(), 'INSERT INTO a (x) VALUES (1) RETURNING id')).toEqual(
      [{ id: 1 }],
    )
    expect(await told(fixing, true)).toMatchObject([{ status: 'problem', fixed: true }])
    expect(await templates()).toEqual({ databases: [], roles: [] })
  })

  test('stays while somebody is building it, and where there is nothing to compare it with', async () => {
    const [name] = (await templates()).databases as [string]
    const [{ id }] = (await sql(namespace.registryUrl, 'SELECT id FROM tenantctl.registry')) as [{ id: string }]
    const builder = new pg.Client(namespace.registryUrl)
    await builder.connect()
    await builder.query('SELECT pg_advisory_lock($1)', [lockKey('template', id, name)])
    const locked = await told(fixing, true).finally(() => builder.end())
    expect(locked.map(each => each.message)).toEqual([
      expect.stringMatching(/could not be fixed: template .* is being built right now/),
    ])
    namespace.writeMigrations({})
    const elsewhere = open()
    expect(await told(elsewhere, true)).toEqual([])
    expect((await templates()).databases).toEqual([name])
    await elsewhere.close()
    namespace.writeMigrations(newer)
    expect(await told(fixing, true)).toMatchObject([{ fixed: true }])
    expect(await templates()).toEqual({ databases: [], roles: [] })
  })
})

test('why it is old is told in words', () => {
  const contents: TemplateContents = {
    ...{ layout: 1, registry: 'r', admin: ['admin', false], major: 18, roles: 'single', historySchema: 'public' },
    ...{ extensions: [], companions: 'x' },
    migrations: ['1', '2', '3', '4', '5'].map(each => [`${each}.sql`, `sum ${each}`]),
    seeds: [['1.sql', 'sum']],
  }
  const differing = (change: Partial<TemplateContents>) => templateDifferences({ ...contents, ...change }, contents)
  expect(differing({})).toEqual([])
  expect(differing({ migrations: [['1.sql', 'sum 1']] })).toEqual([
    'it lacks migrations 2.sql, 3.sql, 4.sql and 1 more',
  ])
  expect(differing({ seeds: [], companions: 'y' })).toEqual(['it lacks seed 1.sql'])
  expect(differing({ seeds: [...contents.seeds, ['2.sql', 's']] })).toEqual(['it has seed 2.sql'])
  expect(differing({ seeds: [['1.sql', 'other']] })).toEqual(['since then seed 1.sql changed'])
  expect(differing({ companions: 'y' })).toEqual(['a file that migrations or seeds may import has changed'])
  expect(
    differing({ extensions: ['hstore'], roles: 'separate', admin: ['postgres', true], major: 17, layout: 0 }),
  ).toEqual([
    'the extensions were hstore',
    'roles were "separate"',
    'the admin was "postgres", a superuser',
    'PostgreSQL was 17',
    'another version of tenantctl built it',
  ])
})
