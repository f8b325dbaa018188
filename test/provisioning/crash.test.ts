import { beforeAll, describe, expect, test } from 'vitest'
import type { TenancyEvent } from '../../src/events.ts'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { sql } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { runBin } from '../support/process.ts'

const namespace = useNamespace()
let tenancy: Tenancy
let config: string
let file: string

/** A process of its own that kills itself the moment it hears of something. */
const program = `
import { readFileSync } from 'node:fs'
import { createTenancy } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)}
const [file, command, name, event, what] = process.argv.slice(2)
const tenancy = createTenancy(JSON.parse(readFileSync(file, 'utf8')))
const onEvent = each => {
  if (each.event === event && (each.step ?? each.seed ?? each.migration) === what) process.kill(process.pid, 'SIGKILL')
}
if (command === 'create') await tenancy.tenants.create({ name }, { onEvent })
else console.log(JSON.stringify(await tenancy.tenants.drop({ tenants: [name] }, { onEvent })))
await tenancy.close()`

async function killed(command: 'create' | 'drop', name: string, event: TenancyEvent['event'], what: string) {
  const result = await runBin([config, command, name, event, what], { file })
  expect(result).toMatchObject({ signal: 'SIGKILL', stderr: '' })
}

const rowsOf = async (slug: string) => {
  const rows = await sql<{ text: string }>(
    (await tenancy.tenants.url(slug)).reveal(),
    'SELECT text FROM notes ORDER BY text',
  )
  return rows.map(row => row.text)
}

const namesOf = async (slug: string) => {
  const { databases, roles } = await namespace.leftovers()
  const own = (name: string) => name.endsWith(`_${slug.replaceAll('-', '_')}`)
  return [databases.filter(own).length, roles.filter(own).length]
}

beforeAll(async () => {
  namespace.writeMigrations({
    '001_notes.sql': 'CREATE TABLE notes (text text NOT NULL);',
    '002_more.sql': 'ALTER TABLE notes ADD more int;',
  })
  namespace.writeSeeds({
    '01_one.sql': "INSERT INTO notes VALUES ('one');",
    '02_two.mjs': "export const seed = knex => knex('notes').insert({ text: 'two' })",
  })
  config = namespace.writeConfig()
  // Once: a process that starts while it is written anew reads half of it.
  file = namespace.writeFile('kill.mjs', program)
  tenancy = namespace.track(createTenancy(namespace.config()))
  await tenancy.registry.install()
})

describe.concurrent('a create that was killed is finished by the next one', () => {
  test.each<[event: TenancyEvent['event'], what: string]>([
    ['step_started', 'createRole'],
    ['step_started', 'createDatabase'],
    ['step_finished', 'createDatabase'],
    ['step_started', 'grantAccess'],
    ['step_finished', 'grantAccess'],
    ['migration_started', '002_more'],
    ['migration_finished', '002_more'],
    ['step_started', 'seed'],
    ['seed_finished', '01_one'],
    ['seed_finished', '02_two'],
    ['step_started', 'activate'],
  ])('%s %s', async (event, what) => {
    const slug = `c-${event.replaceAll('_', '-')}-${what.toLowerCase().replaceAll('_', '-')}`
    await killed('create', slug, event, what)
    expect(await tenancy.tenants.get(slug)).toMatchObject({ status: 'provisioning' })
    expect((await tenancy.operations.list({ tenant: slug }))[0]).toMatchObject({ kind: 'create', status: 'running' })

    expect(await tenancy.tenants.create({ name: slug })).toMatchObject({ status: 'active', schemaVersion: '002_more' })
    expect(await rowsOf(slug)).toEqual(['one', 'two'])
    expect(await namesOf(slug)).toEqual([1, 1])
    const operations = await tenancy.operations.list({ tenant: slug })
    expect(operations.map(each => each.status)).toEqual(['succeeded', 'interrupted'])
  })
})

describe.concurrent('a create that was killed can be dropped', () => {
  test.each([['createRole'], ['createDatabase'], ['grantAccess'], ['activate']])('at %s', async step => {
    const slug = `d-${step.toLowerCase()}`
    await killed('create', slug, 'step_started', step)
    expect(await tenancy.tenants.drop({ tenants: [slug] })).toMatchObject({ succeeded: 1 })
    expect(await namesOf(slug)).toEqual([0, 0])
    await expect(tenancy.tenants.get(slug)).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' })
  })
})

describe.concurrent('a drop that was killed is finished by the next one', () => {
  test.each<[event: TenancyEvent['event'], what: string]>([
    ['step_finished', 'activate'],
    ['step_finished', 'grantAccess'],
    ['step_finished', 'createDatabase'],
    ['step_started', 'reserve'],
  ])('%s %s', async (event, what) => {
    const slug = `e-${event.replaceAll('_', '-')}-${what.toLowerCase()}`
    await tenancy.tenants.create({ name: slug })
    await killed('drop', slug, event, what)
    expect(await tenancy.tenants.get(slug)).toMatchObject({ status: 'dropping' })
    await expect(tenancy.tenants.create({ name: slug })).rejects.toMatchObject({ code: 'TENANT_DROPPING' })
    expect(await tenancy.tenants.drop({ tenants: [slug] })).toMatchObject({ succeeded: 1 })
    expect(await namesOf(slug)).toEqual([0, 0])
  })
})

describe('an abort', () => {
  test.each(['createRole', 'createDatabase', 'grantAccess', 'migrate', 'seed'])(
    'in step %s is told, and the next create goes on',
    async step => {
      const slug = `a-${step.toLowerCase()}`
      const controller = new AbortController()
      const onEvent = (event: TenancyEvent) => {
        if (event.event === 'step_started' && event.step === step) controller.abort()
      }
      await expect(
        tenancy.tenants.create({ name: slug }, { signal: controller.signal, onEvent }),
      ).rejects.toMatchObject({
        ...{ code: 'ABORTED', tenant: slug, step },
        hint: expect.stringContaining(`\`tenantctl create ${slug}\` goes on from there`),
      })
      expect(await tenancy.tenants.get(slug)).toMatchObject({ status: 'failed' })
      const [operation] = await tenancy.operations.list({ tenant: slug })
      expect(operation).toMatchObject({ finishedAt: expect.any(String), error: { code: 'ABORTED' } })
      await tenancy.tenants.create({ name: slug })
      expect(await rowsOf(slug)).toEqual(['one', 'two'])
    },
  )

  test('in the middle of a statement cancels it', async () => {
    const directory = namespace.writeFile('slow/001_slow.sql', 'CREATE TABLE slow (); SELECT pg_sleep(60);')
    const slow = namespace.track(
      createTenancy(namespace.config({ migrations: { directory: directory.replace(/\/[^/]*$/, '') } })),
    )
    const controller = new AbortController()
    const startedAt = Date.now()
    const onEvent = (event: TenancyEvent) => {
      if (event.event === 'migration_started') setTimeout(() => controller.abort(), 100)
    }
    await expect(slow.tenants.create({ name: 'slow' }, { signal: controller.signal, onEvent })).rejects.toMatchObject({
      ...{ code: 'ABORTED', step: 'migrate' },
    })
    expect(Date.now() - startedAt).toBeLessThan(10_000)
    expect(await slow.tenants.drop({ tenants: ['slow'] })).toMatchObject({ succeeded: 1 })
  })
})

test('a step that fails is named with its cause; a corrected file and the same command finish the tenant', async () => {
  const directory = namespace.writeFile('broken/001_a.sql', 'CREATE TABLE a ();').replace(/\/[^/]*$/, '')
  namespace.writeFile('broken/002_b.sql', 'CREATE TABLE b ();\n\nSELECT nonsense;')
  const broken = () =>
    namespace.track(
      createTenancy(namespace.config({ migrations: { directory }, seeds: { directory: `${directory}/none` } })),
    )
  namespace.writeFile('broken/none/.keep', '')
  await expect(broken().tenants.create({ name: 'broken' })).rejects.toMatchObject({
    ...{
      code: 'MIGRATION_FAILED',
      step: 'migrate',
      migration: '002_b.sql',
      line: 3,
      sqlstate: '42703',
      tenant: 'broken',
    },
    message: 'step "migrate" failed: 002_b.sql, line 3: column "nonsense" does not exist',
    hint: expect.stringContaining('tenantctl create broken'),
    operationId: expect.any(String),
  })
  expect(await tenancy.tenants.get('broken')).toMatchObject({ status: 'failed' })
  const [operation] = await tenancy.operations.list({ tenant: 'broken' })
  expect(operation?.steps.at(-1)).toMatchObject({ name: 'migrate', status: 'failed' })
  expect(operation?.error).toMatchObject({ code: 'MIGRATION_FAILED' })
  namespace.writeFile('broken/002_b.sql', 'CREATE TABLE b ();')
  expect(await broken().tenants.create({ name: 'broken' })).toMatchObject({ status: 'active', schemaVersion: '002_b' })
})

test('what a crash of CREATE DATABASE left under its passing name is cleared away', async () => {
  for (const next of ['create', 'drop'] as const) {
    const slug = `passing-${next}`
    await killed('create', slug, 'step_started', 'createDatabase')
    const { id } = await tenancy.tenants.get(slug)
    const passing = `tenantctl_new_${id.replaceAll('-', '')}`
    await namespace.sql(`CREATE DATABASE ${passing} ALLOW_CONNECTIONS false`)
    if (next === 'create') expect(await tenancy.tenants.create({ name: slug })).toMatchObject({ status: 'active' })
    else expect(await tenancy.tenants.drop({ tenants: [slug] })).toMatchObject({ succeeded: 1 })
    expect((await namespace.leftovers()).databases).not.toContain(passing)
  }
})
