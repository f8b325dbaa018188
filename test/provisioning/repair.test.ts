import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/tenancy/tenancy.ts'
import { sample } from '../faults/sampling.ts'
import { sql, tryLogin } from '../support/client.ts'
import { type Namespace, useNamespace } from '../support/namespace.ts'
import { runBin } from '../support/process.ts'

/** A process that kills itself in the middle of its work; the library has nothing in it for this test. */
const program = `
import { createTenancy } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)}
const { config, action, at } = JSON.parse(process.argv[2])
const tenancy = createTenancy({
  ...config,
  onEvent: event => {
    if (event.event === at.event && (event.step ?? event.migration) === at.what) process.kill(process.pid, 'SIGKILL')
  },
})
if (action === 'create') await tenancy.tenants.create({ name: 'Acme', seed: false })
if (action === 'drop') await tenancy.tenants.drop({ tenants: ['acme'] }, { force: true })
const acme = { tenants: ['acme'] }
if (action === 'retain') await tenancy.tenants.drop(acme, { force: true, retain: '1 day' })
if (action === 'undrop') await tenancy.tenants.undrop('acme')
if (action === 'suspend') await tenancy.tenants.suspend(acme)
if (action === 'resume') await tenancy.tenants.resume(acme)
if (action === 'rotate') await tenancy.tenants.rotatePassword(acme)
if (action === 'migrate') await tenancy.migrations.run({ all: true })
if (action === 'rollback') await tenancy.migrations.rollback({ all: true }, { steps: 1 })
await tenancy.close()
`

const steps = [
  'reserve',
  'createRole',
  'createDatabase',
  'installExtensions',
  'grantAccess',
  'takeOwnership',
  'migrate',
  'seed',
  'activate',
]
const lastMoment = { event: 'step_finished', what: 'activate' }
const moments = (steps: string[]) =>
  steps.flatMap(what => ['step_started', 'step_finished'].map(event => ({ event, what })))

describe.each(['plain', 'superuser'] as const)('repair, as %s admin', admin => {
  // One sweep over all moments is enough; what differs for a superuser lies in a few of them.
  const killedAt =
    admin === 'plain'
      ? sample(moments(steps), 6, 'repair')
      : moments(['createRole', 'createDatabase', 'grantAccess']).filter(at => at.event === 'step_finished')
  const namespace = useNamespace({ admin })
  let tenancy: Tenancy

  beforeEach(() => {
    namespace.writeMigrations({
      '001_a.sql': 'CREATE TABLE a (id int);\n-- migrate:down\nDROP TABLE a;',
      '002_b.sql': 'CREATE TABLE b (id int);\n-- migrate:down\nDROP TABLE b;',
    })
    namespace.writeSeeds({ '01_a.sql': 'INSERT INTO a VALUES (1)' })
    tenancy = createTenancy(namespace.config())
  })

  afterEach(async () => {
    await tenancy.tenants.drop({ all: true }, { force: true })
    await tenancy.repair()
    await tenancy.close()
    expect(await namespace.leftovers()).toEqual({ databases: [], roles: [] })
  })

  test.each(killedAt)('finishes a create that was killed at $event of $what', async at => {
    await killed(namespace, 'create', at)
    const result = await tenancy.repair()
    const total = at.event === lastMoment.event && at.what === lastMoment.what ? 0 : 1
    expect(result).toMatchObject({ total, succeeded: total, leftovers: [], unreachable: [] })
    const tenant = await tenancy.tenants.get('acme')
    expect(tenant).toMatchObject({ status: 'active', schemaVersion: '002_b' })
    // It was begun with --no-seed.
    const url = (await tenancy.tenants.url('acme')).reveal()
    expect(await sql(url, 'SELECT FROM a')).toEqual([])
    expect(await statuses(tenancy)).not.toContain('running')
    expect(await namespace.leftovers()).toEqual({ databases: [tenant.database], roles: [tenant.username] })
    expect((await tenancy.repair()).total).toBe(0)
  })

  test.each(killedAt.filter(at => !(at.what === 'activate' && at.event === 'step_started')))(
    'finishes a drop that was killed at $event of $what',
    async at => {
      await tenancy.tenants.create({ name: 'Acme' })
      await killed(namespace, 'drop', at)
      const result = await tenancy.repair()
      expect(result).toMatchObject({ failed: 0, skipped: 0, leftovers: [], unreachable: [] })
      expect(await tenancy.tenants.list()).toEqual([])
      expect(await namespace.leftovers()).toEqual({ databases: [], roles: [] })
      expect(await statuses(tenancy)).not.toContain('running')
    },
  )

  describe.runIf(admin === 'plain')('finishes what was killed', () => {
    const login = async () => tryLogin((await tenancy.tenants.url('acme')).reveal())

    test.each(moments(['recordStatus', 'closeAccess']))('in a suspension at $event of $what', async at => {
      await tenancy.tenants.create({ name: 'Acme' })
      await killed(namespace, 'suspend', at)
      expect(await tenancy.repair()).toMatchObject({ total: 1, succeeded: 1 })
      const { status } = await tenancy.tenants.get('acme')
      // Before its first step nothing had changed.
      expect(status).toBe(at.what === 'recordStatus' && at.event === 'step_started' ? 'active' : 'suspended')
      expect((await login()).ok).toBe(status === 'active')
    })

    test.each(moments(['recordStatus', 'closeAccess']))('on the way back from one at $event of $what', async at => {
      await tenancy.tenants.create({ name: 'Acme' })
      await tenancy.tenants.suspend({ all: true })
      await killed(namespace, 'resume', at)
      await tenancy.repair()
      expect(await tenancy.tenants.get('acme')).toMatchObject({ status: 'active' })
      expect((await login()).ok).toBe(true)
      expect((await tenancy.repair()).total).toBe(0)
    })

    test.each(
      sample(moments(['choosePassword', 'changeRole', 'verify', 'promotePassword', 'endSessions']), 4, 'rotation'),
    )('in a change of passwords at $event of $what', async at => {
      await tenancy.tenants.create({ name: 'Acme' })
      await killed(namespace, 'rotate', at)
      expect(await tenancy.repair()).toMatchObject({ failed: 0 })
      expect((await login()).ok).toBe(true)
      expect(await statuses(tenancy)).not.toContain('running')
      expect((await tenancy.repair()).total).toBe(0)
    })

    test('in a change of passwords, when the tenant is back that was dropped meanwhile', async () => {
      const { id } = await tenancy.tenants.create({ name: 'Acme' })
      await killed(namespace, 'rotate', { event: 'step_finished', what: 'changeRole' })
      await tenancy.tenants.drop({ all: true }, { force: true, retain: '1 day' })
      await tenancy.tenants.create({ name: 'Acme' })
      // What is kept lets nobody in by any password.
      expect(await tenancy.repair()).toMatchObject({ total: 0 })

      await tenancy.tenants.undrop(id, { slug: 'acme-2' })
      expect((await tenancy.repair()).tenants).toEqual([
        expect.objectContaining({ tenant: 'acme-2', reason: 'gave it its new password' }),
      ])
      expect((await tryLogin((await tenancy.tenants.url('acme-2')).reveal())).ok).toBe(true)
      expect(await tenancy.repair()).toMatchObject({ total: 0 })
    })

    test('in a drop that keeps the data, and in the way back from one', async () => {
      await tenancy.tenants.create({ name: 'Acme' })
      await killed(namespace, 'retain', { event: 'step_finished', what: 'recordStatus' })
      expect((await tenancy.repair()).tenants).toEqual([
        expect.objectContaining({ reason: expect.stringContaining('drop') }),
      ])
      expect(await tenancy.tenants.list()).toEqual([])
      await killed(namespace, 'undrop', { event: 'step_finished', what: 'retain' })
      expect((await tenancy.repair()).tenants).toEqual([expect.objectContaining({ status: 'repaired' })])
      expect(await tenancy.tenants.get('acme')).toMatchObject({ status: 'active' })
      expect((await login()).ok).toBe(true)
    })
  })

  test('finishes a drop that an undrop came too late for', async () => {
    await tenancy.tenants.create({ name: 'Acme' })
    await killed(namespace, 'drop', { event: 'step_finished', what: 'createDatabase' })
    await expect(tenancy.tenants.undrop('acme')).rejects.toMatchObject({ code: 'TENANT_DROPPING' })
    expect(await tenancy.repair()).toMatchObject({ total: 1, succeeded: 1 })
    expect(await tenancy.tenants.list()).toEqual([])
    expect(await namespace.leftovers()).toEqual({ databases: [], roles: [] })
  })

  test('finishes a create that was dropped half-made, and whose undrop was cut off', async () => {
    await killed(namespace, 'create', { event: 'step_finished', what: 'grantAccess' })
    await killed(namespace, 'retain', { event: 'step_finished', what: 'rename' })
    await killed(namespace, 'undrop', { event: 'step_finished', what: 'rename' })
    expect(await tenancy.repair()).toMatchObject({ total: 1, succeeded: 1 })
    expect(await tenancy.tenants.get('acme')).toMatchObject({ status: 'active', schemaVersion: '002_b' })
    expect((await tenancy.repair()).total).toBe(0)
  })

  test('leaves a tenant alone whose drop had not begun', async () => {
    await tenancy.tenants.create({ name: 'Acme' })
    await killed(namespace, 'drop', { event: 'step_started', what: 'activate' })
    const { tenants } = await tenancy.repair()
    expect(tenants).toEqual([
      expect.objectContaining({ tenant: 'acme', status: 'repaired', reason: 'marked an operation as interrupted' }),
    ])
    expect(await tenancy.tenants.get('acme')).toMatchObject({ status: 'active' })
  })

  test('tells the registry what a killed migrate has applied', async () => {
    namespace.writeMigrations({ '001_a.sql': 'CREATE TABLE a (id int);\n-- migrate:down\nDROP TABLE a;' })
    await tenancy.tenants.create({ name: 'Acme' })
    namespace.writeMigrations({
      '001_a.sql': 'CREATE TABLE a (id int);\n-- migrate:down\nDROP TABLE a;',
      '002_b.sql': 'CREATE TABLE b (id int);\n-- migrate:down\nDROP TABLE b;',
      '003_c.sql': 'CREATE TABLE c (id int);',
    })
    await killed(namespace, 'migrate', { event: 'migration_finished', what: '002_b' })
    expect(await tenancy.tenants.get('acme')).toMatchObject({ schemaVersion: '001_a' })
    const { tenants } = await tenancy.repair()
    expect(tenants).toEqual([expect.objectContaining({ tenant: 'acme', status: 'repaired' })])
    expect(await tenancy.tenants.get('acme')).toMatchObject({ schemaVersion: '002_b' })
    expect((await tenancy.repair()).total).toBe(0)
  })

  test('does not let a killed rollback pass for up to date', async () => {
    await tenancy.tenants.create({ name: 'Acme' })
    await killed(namespace, 'rollback', { event: 'migration_finished', what: '002_b' })
    await tenancy.repair()
    expect(await tenancy.tenants.get('acme')).toMatchObject({ schemaVersion: '001_a' })
    expect((await tenancy.migrations.run({ all: true })).tenants).toEqual([
      expect.objectContaining({ status: 'migrated', applied: ['002_b'] }),
    ])
  })

  test('nor one of a tenant that was suspended meanwhile', async () => {
    await tenancy.tenants.create({ name: 'Acme' })
    await killed(namespace, 'rollback', { event: 'migration_finished', what: '002_b' })
    await tenancy.tenants.suspend({ all: true })
    // It can be looked at when its logins are let in again.
    expect((await tenancy.repair()).tenants).toMatchObject([{ reason: 'marked an operation as interrupted' }])
    expect(await tenancy.repair()).toMatchObject({ total: 0 })
    await tenancy.tenants.resume({ all: true })
    expect(await tenancy.repair()).toMatchObject({ total: 1 })
    expect(await tenancy.tenants.get('acme')).toMatchObject({ schemaVersion: '001_a' })
  })

  test('leaves a tenant alone that a living run is at work on, and says so', async () => {
    let arrived = () => {}
    let release = () => {}
    const there = new Promise<void>(resolve => {
      arrived = resolve
    })
    const gate = new Promise<void>(resolve => {
      release = resolve
    })
    // A file that waits is a run that lives.
    const held = globalThis as { arrived?: () => void; gate?: Promise<void> }
    Object.assign(held, { arrived, gate })
    namespace.writeMigrations({
      '001_slow.mjs': 'export async function up() { globalThis.arrived(); await globalThis.gate }',
    })
    namespace.writeSeeds({})
    const other = createTenancy(namespace.config())
    try {
      const creating = other.tenants.create({ name: 'Acme' })
      await there
      const { tenants } = await tenancy.repair({ tenants: ['acme'] })
      expect(tenants).toEqual([
        expect.objectContaining({
          tenant: 'acme',
          status: 'skipped',
          reason: expect.stringMatching(/locked by "create"/),
        }),
      ])
      release()
      expect(await creating).toMatchObject({ status: 'active' })
      expect((await tenancy.repair({ tenants: ['acme'] })).tenants).toEqual([
        expect.objectContaining({ status: 'up_to_date' }),
      ])
    } finally {
      release()
      await other.close()
    }
  })

  test('tells what cannot be finished, and how to go on', async () => {
    namespace.writeMigrations({ '009_nonsense.sql': 'CREATE TABLE a (id nonsense)' })
    await expect(tenancy.tenants.create({ name: 'Acme' })).rejects.toMatchObject({ code: 'MIGRATION_FAILED' })
    const { tenants, failed } = await tenancy.repair()
    expect(failed).toBe(1)
    expect(tenants[0]?.error).toMatchObject({ code: 'MIGRATION_FAILED', hint: expect.stringContaining('tenantctl') })
    expect(await tenancy.tenants.get('acme')).toMatchObject({ status: 'failed' })
  })

  test('never touches a foreign database that bears the wanted name', async () => {
    await tenancy.registry.install()
    await killed(namespace, 'create', { event: 'step_started', what: 'createRole' })
    await namespace.sql(`CREATE DATABASE ${namespace.tenantPrefix}acme`)
    const { tenants } = await tenancy.repair()
    expect(tenants[0]).toMatchObject({ status: 'failed', error: { code: 'DATABASE_EXISTS' } })
    await tenancy.tenants.drop({ all: true })
    expect((await namespace.leftovers()).databases).toEqual([`${namespace.tenantPrefix}acme`])
    await namespace.sql(`DROP DATABASE ${namespace.tenantPrefix}acme`)
  })

  describe('of what belongs to no tenant', () => {
    /** As after a registry was restored from a backup: the server knows of a tenant that the registry does not. */
    async function forget(): Promise<{ database: string; username: string }> {
      const { id, database, username } = await tenancy.tenants.create({ name: 'Acme' })
      await namespace.superSql('DELETE FROM tenantctl.tenants WHERE uuid = $1', [id], `${namespace.prefix}_registry`)
      return { database, username }
    }

    test('keeps a database that may hold data, and its role', async () => {
      const { database, username } = await forget()
      const { leftovers } = await tenancy.repair()
      expect(leftovers).toEqual([
        { server: 'default', kind: 'database', name: database, status: 'left' },
        { server: 'default', kind: 'role', name: username, status: 'left' },
      ])
      await namespace.superSql(`DROP DATABASE "${database}"`)
      expect((await tenancy.repair()).leftovers).toEqual([
        { server: 'default', kind: 'role', name: username, status: 'removed' },
      ])
    })

    test('removes a database that a killed DROP has left invalid', async () => {
      const { database, username } = await forget()
      await namespace.superSql('UPDATE pg_database SET datconnlimit = -2 WHERE datname = $1', [database])
      expect((await tenancy.repair()).leftovers).toEqual([
        { server: 'default', kind: 'database', name: database, status: 'removed' },
        { server: 'default', kind: 'role', name: username, status: 'removed' },
      ])
    })

    test('removes a temporary database that its create will never come back to', async () => {
      const { id } = await tenancy.tenants.create({ name: 'Acme' })
      await tenancy.tenants.drop({ all: true })
      const ours = `tenantctl_new_${id.replaceAll('-', '')}`
      const foreign = `tenantctl_new_${'0'.repeat(32)}`
      await namespace.sql(`CREATE DATABASE ${ours} TEMPLATE template0 ALLOW_CONNECTIONS false`)
      await namespace.sql(`CREATE DATABASE ${foreign} TEMPLATE template0 ALLOW_CONNECTIONS false`)
      try {
        expect((await tenancy.repair()).leftovers).toEqual([
          { server: 'default', kind: 'database', name: ours, status: 'removed' },
        ])
      } finally {
        await namespace.sql(`DROP DATABASE ${foreign}`)
      }
    })
  })
})

async function killed(namespace: Namespace, action: string, at: { event: string; what: string }): Promise<void> {
  const file = namespace.writeFile('killed.mjs', program)
  const { onEvent: _, ...config } = namespace.config()
  const result = await runBin([JSON.stringify({ config, action, at })], { file })
  expect(result).toMatchObject({ signal: 'SIGKILL' })
}

async function statuses(tenancy: Tenancy): Promise<string[]> {
  return (await tenancy.operations.list({ limit: 1000 })).map(operation => operation.status)
}
