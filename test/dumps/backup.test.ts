import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy, type TenancyConfig } from '../../src/index.ts'
import { tryLogin } from '../support/client.ts'
import { canDump, startDumpServer, toolsDirectory } from '../support/dump-server.ts'
import { useNamespace } from '../support/namespace.ts'
import type { TestServer } from '../support/servers.ts'

describe.skipIf(!canDump)('drop with a backup', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startDumpServer()
  })
  afterAll(async () => await server?.remove())
  const namespace = useNamespace({ server: () => server })

  let tenancy: Tenancy
  beforeAll(() => {
    namespace.writeMigrations({
      '001_notes.sql': 'CREATE TABLE notes (id serial PRIMARY KEY, body text NOT NULL)',
      '002_index.sql': 'CREATE INDEX notes_body ON notes (body)',
    })
    namespace.writeSeeds({ '001_notes.sql': "INSERT INTO notes (body) VALUES ('first')" })
    tenancy = open()
  })
  function open(config: TenancyConfig = {}): Tenancy {
    return namespace.track(createTenancy(namespace.config(config)))
  }

  /** A pg_dump and pg_restore that do what the script says; `real` is the true one. */
  function fakeTools(name: string, script: { dump?: string; restore?: string }): string {
    const directory = join(namespace.directory, name)
    mkdirSync(directory)
    for (const [tool, body] of [['pg_dump', script.dump] as const, ['pg_restore', script.restore] as const]) {
      const real = join(toolsDirectory, tool)
      const file = join(directory, tool)
      writeFileSync(file, `#!/bin/sh\n[ "$1" = --version ] && exec ${real} --version\n${body ?? `exec ${real} "$@"`}\n`)
      chmodSync(file, 0o755)
    }
    return directory
  }

  test('writes a dump that can be read, says where, and then drops', async () => {
    await tenancy.tenants.create({ name: 'Acme Inc.', slug: 'acme', labels: { plan: 'pro' } })
    const url = await tenancy.tenants.url('acme')
    const directory = join(namespace.directory, 'a/new/folder')

    const before = await tenancy.tenants.get('acme')
    const result = await tenancy.tenants.drop({ tenants: ['acme'] }, { backup: directory })

    const [outcome] = result.tenants
    const file = outcome?.backup ?? ''
    expect(outcome).toMatchObject({ tenant: 'acme', status: 'dropped', backup: expect.any(String) })
    expect(file).toMatch(/\/a\/new\/folder\/acme-\d{8}T\d{6}\.\d{3}Z\.dump$/)
    expect(readdirSync(directory).sort()).toEqual([file, `${file}.json`].map(path => path.split('/').at(-1)))
    expect(statSync(directory).mode & 0o777).toBe(0o700)
    for (const path of [file, `${file}.json`]) expect(statSync(path).mode & 0o777).toBe(0o600)

    const sql = execFileSync(join(toolsDirectory, 'pg_restore'), ['--file=-', file], { encoding: 'utf8' })
    expect(sql).toContain('\tfirst\n')
    expect(sql).toContain('002_index.sql')
    const description = readFileSync(`${file}.json`, 'utf8')
    expect(JSON.parse(description)).toMatchObject({
      tenant: { id: before.id, slug: 'acme', name: 'Acme Inc.', labels: { plan: 'pro' }, schemaVersion: '002_index' },
      migrations: ['001_notes', '002_index'],
      sizeBytes: statSync(file).size,
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    })
    expect(description).not.toContain(new URL(url.reveal()).password)

    expect(await namespace.leftovers()).toEqual({ databases: [], roles: [] })
    const [operation] = await tenancy.operations.list({ tenant: 'acme' })
    expect(operation).toMatchObject({ kind: 'drop', status: 'succeeded' })
    expect(operation?.steps[0]).toMatchObject({ name: 'backup', status: 'done' })
  })

  test('nobody can write to the tenant while it is dumped, on a login that has its rights and no others', async () => {
    const seen = join(namespace.directory, 'seen')
    const slow = fakeTools('slow', {
      dump: `env > ${seen}.env; echo "$@" > ${seen}.args; while [ ! -e ${seen}.go ]; do sleep 0.02; done; exec ${toolsDirectory}/pg_dump "$@"`,
    })
    const slowly = open({ tools: { directory: slow } })
    await slowly.tenants.create({ name: 'busy' })
    const url = await slowly.tenants.url('busy')
    const tenant = await slowly.tenants.get('busy')
    const client = new pg.Client({ connectionString: url.reveal() })
    client.on('error', () => undefined)
    await client.connect()
    await client.query(`INSERT INTO notes (body) VALUES ('last')`)

    const dropping = slowly.tenants.drop({ tenants: ['busy'] }, { backup: namespace.directory, force: true })
    await waitForFile(`${seen}.args`)
    expect((await slowly.tenants.get('busy')).status).toBe('suspended')
    await expect(client.query('SELECT 1')).rejects.toThrow()
    expect(await tryLogin(url.reveal())).toMatchObject({ ok: false })
    const roles = await namespace.sql<{ rolname: string; rolsuper: boolean; rolcreaterole: boolean }>(
      `SELECT rolname, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname LIKE 'tenantctl_dump_%'`,
    )
    const dumper = `tenantctl_dump_${tenant.id.replaceAll('-', '')}`
    expect(roles).toEqual([{ rolname: dumper, rolsuper: false, rolcreaterole: false, rolcreatedb: false }])
    const [member] = await namespace.sql<{ of: string[] }>(
      `SELECT array_agg(g.rolname::text) AS of FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
        JOIN pg_roles u ON u.oid = m.member WHERE u.rolname = $1`,
      [dumper],
    )
    expect(member?.of).toEqual([tenant.username])
    writeFileSync(`${seen}.go`, '')
    const { tenants } = await dropping
    expect(tenants[0]).toMatchObject({ status: 'dropped' })

    const environment = readFileSync(`${seen}.env`, 'utf8')
    expect(environment).toMatch(new RegExp(`^PGUSER=${dumper}$`, 'm'))
    expect(environment).not.toContain(new URL(namespace.adminUrl).password)
    const password = /^PGPASSWORD=(.*)$/m.exec(environment)?.[1] ?? ''
    expect(password).toHaveLength(32)
    expect(readFileSync(`${seen}.args`, 'utf8')).not.toContain(password)
    const sql = execFileSync(join(toolsDirectory, 'pg_restore'), ['--file=-', tenants[0]?.backup ?? ''], {
      encoding: 'utf8',
    })
    expect(sql).toContain('\tlast\n')
    expect(await namespace.sql(`SELECT FROM pg_roles WHERE rolname LIKE 'tenantctl_dump_%'`)).toEqual([])
    await client.end().catch(() => undefined)
  })

  test.each<[string, { dump?: string; restore?: string }, string]>([
    ['pg_dump fails', { dump: 'echo "pg_dump: error: out of paper" >&2; exit 1' }, 'out of paper'],
    ['pg_dump writes nothing', { dump: 'exit 0' }, 'could not be verified'],
    ['the dump is cut short', { dump: 'REAL | head -c 3000' }, 'could not be verified'],
    ['the dump lacks its end', { dump: 'REAL | head -c -5' }, 'could not be verified'],
    ['pg_restore cannot list it', { restore: 'echo "pg_restore: error: no" >&2; exit 1' }, 'could not be verified'],
  ])('when %s, the tenant is as it was', async (what, script, message) => {
    const slug = `t-${what.replaceAll(/[^a-z]+/g, '-')}`
    const dump = script.dump?.replace('REAL', `${toolsDirectory}/pg_dump "$@"`)
    const broken = open({ tools: { directory: fakeTools(slug, { ...script, ...(dump ? { dump } : {}) }) } })
    await broken.tenants.create({ name: slug, slug })
    const directory = join(namespace.directory, `${slug}-backups`)

    const { tenants } = await broken.tenants.drop({ tenants: [slug] }, { backup: directory })

    expect(tenants[0]).toMatchObject({ status: 'failed', error: { code: 'BACKUP_FAILED', step: 'backup' } })
    expect(tenants[0]?.error?.message).toContain(message)
    expect(readdirSync(directory)).toEqual([])
    expect((await broken.tenants.get(slug)).status).toBe('active')
    expect(await tryLogin((await broken.tenants.url(slug)).reveal())).toMatchObject({ ok: true })
    expect(await namespace.sql(`SELECT FROM pg_roles WHERE rolname LIKE 'tenantctl_dump_%'`)).toEqual([])
    await tenancy.tenants.drop({ tenants: [slug] })
  })

  test('interrupted: the tenant is let in again', async () => {
    const hanging = open({ tools: { directory: fakeTools('hanging', { dump: 'sleep 60; true' }) } })
    await hanging.tenants.create({ name: 'patient' })
    const controller = new AbortController()
    const directory = join(namespace.directory, 'interrupted')
    const dropping = hanging.tenants.drop({ tenants: ['patient'] }, { backup: directory, signal: controller.signal })
    while (!existsSync(directory) || readdirSync(directory).length === 0) await sleep(20)
    await sleep(100)
    controller.abort()
    expect((await dropping).tenants[0]?.error?.code).toBe('ABORTED')
    expect(readdirSync(directory)).toEqual([])
    expect((await hanging.tenants.get('patient')).status).toBe('active')
    expect(await tryLogin((await hanging.tenants.url('patient')).reveal())).toMatchObject({ ok: true })
    await tenancy.tenants.drop({ tenants: ['patient'] })
  })

  test('open connections are a conflict without force, and the tenant is not suspended', async () => {
    await tenancy.tenants.create({ name: 'open' })
    const client = new pg.Client({ connectionString: (await tenancy.tenants.url('open')).reveal() })
    await client.connect()
    const { tenants } = await tenancy.tenants.drop({ tenants: ['open'] }, { backup: namespace.directory })
    expect(tenants[0]).toMatchObject({ status: 'failed', error: { code: 'CONNECTIONS_OPEN' } })
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
    await client.end()
    expect((await tenancy.tenants.get('open')).status).toBe('active')
  })

  test('a suspended tenant is dumped as well, and stays suspended when that fails', async () => {
    await tenancy.tenants.suspend({ tenants: ['open'] })
    const broken = open({ tools: { directory: fakeTools('broken', { dump: 'exit 3' }) } })
    await broken.tenants.drop({ tenants: ['open'] }, { backup: namespace.directory })
    expect((await tenancy.tenants.get('open')).status).toBe('suspended')
    expect(await tryLogin((await tenancy.tenants.url('open')).reveal())).toMatchObject({ ok: false })
    await tenancy.tenants.resume({ tenants: ['open'] })
    await tenancy.tenants.suspend({ tenants: ['open'] })
    const { tenants } = await tenancy.tenants.drop({ tenants: ['open'] }, { backup: namespace.directory })
    expect(tenants[0]).toMatchObject({ status: 'dropped', backup: expect.stringContaining('/open-') })
  })

  test('kept for a while as well: undrop brings it back as it was before', async () => {
    await tenancy.tenants.create({ name: 'kept' })
    const { tenants } = await tenancy.tenants.drop({ tenants: ['kept'] }, { backup: namespace.directory, retain: '1d' })
    expect(tenants[0]).toMatchObject({ backup: expect.any(String), retainedUntil: expect.any(String) })
    expect(await tenancy.tenants.undrop('kept')).toMatchObject({ slug: 'kept', status: 'active' })
    expect(await tryLogin((await tenancy.tenants.url('kept')).reveal())).toMatchObject({ ok: true })
    await tenancy.tenants.drop({ tenants: ['kept'] })
  })

  test('several at a time, at most two dumps on a server', async () => {
    const log = join(namespace.directory, 'dumps.log')
    const counted = open({
      tools: {
        directory: fakeTools('counted', {
          dump: `echo + >> ${log}; ${toolsDirectory}/pg_dump "$@"; code=$?; sleep 0.1; echo - >> ${log}; exit $code`,
        }),
      },
      drop: { backup: { directory: join(namespace.directory, 'fleet') } },
    })
    const slugs = ['f-one', 'f-two', 'f-three', 'f-four', 'f-five']
    await counted.tenants.createMany(slugs.map(slug => ({ name: slug, slug })))
    const { tenants } = await counted.tenants.drop({ tenants: slugs }, { concurrency: 5 })
    expect(tenants.map(({ status }) => status)).toEqual(slugs.map(() => 'dropped'))
    for (const { backup } of tenants) expect(existsSync(backup ?? '')).toBe(true)
    let running = 0
    const most = Math.max(
      ...readFileSync(log, 'utf8')
        .trim()
        .split('\n')
        .map(sign => (running += sign === '+' ? 1 : -1)),
    )
    expect(most).toBe(2)
  })

  test('what was never let in has nothing to dump', async () => {
    namespace.writeSeeds({ '001_notes.sql': 'SELECT 1/0' })
    const failing = open()
    await failing.tenants.create({ name: 'half' }).catch(() => undefined)
    namespace.writeSeeds({})
    const { tenants } = await failing.tenants.drop({ tenants: ['half'] }, { backup: namespace.directory })
    // It was let in, though it wrote nothing.
    expect(tenants[0]).toMatchObject({ status: 'dropped', backup: expect.any(String) })

    const named = open()
    await named.tenants.create({ name: 'gone' })
    await namespace.sql(`DROP DATABASE "${(await named.tenants.get('gone')).database}"`)
    const events: string[] = []
    const result = await named.tenants.drop(
      { tenants: ['gone'] },
      { backup: namespace.directory, onEvent: event => event.event === 'notice' && events.push(event.message) },
    )
    expect(result.tenants[0]).toMatchObject({ status: 'dropped' })
    expect(result.tenants[0]).not.toHaveProperty('backup')
    expect(events).toEqual([expect.stringContaining('no backup')])
  })

  describe('that is required', () => {
    test('is one with whom the drop of a fleet begins', async () => {
      await tenancy.tenants.create({ name: 'fleet-a' })
      const careful = open({ drop: { requireBackup: 'fleet' } })
      await expect(careful.tenants.drop({ all: true })).rejects.toMatchObject({ code: 'USAGE' })
      await expect(careful.tenants.drop({ tenants: ['fleet-a', 'x'] }, { ifExists: true })).rejects.toMatchObject({
        code: 'USAGE',
        hint: expect.stringContaining('--backup'),
      })
      await expect(careful.tenants.drop({ all: true }, { backup: false })).rejects.toMatchObject({ code: 'USAGE' })
      expect((await tenancy.tenants.get('fleet-a')).status).toBe('active')
      expect((await careful.tenants.drop({ tenants: ['fleet-a'] })).succeeded).toBe(1)
    })

    test('always, or only wished for', async () => {
      await tenancy.tenants.create({ name: 'single' })
      const strict = open({ drop: { requireBackup: true } })
      await expect(strict.tenants.drop({ tenants: ['single'] })).rejects.toMatchObject({ code: 'USAGE' })
      const wished = open({ drop: { backup: { directory: namespace.directory } } })
      const { tenants } = await wished.tenants.drop({ tenants: ['single'] }, { backup: false })
      expect(tenants[0]).toMatchObject({ status: 'dropped' })
      expect(tenants[0]).not.toHaveProperty('backup')
    })
  })

  test('a folder that cannot be used is refused before anything is touched', async () => {
    await tenancy.tenants.create({ name: 'careful' })
    const file = namespace.writeFile('file', '')
    await expect(tenancy.tenants.drop({ tenants: ['careful'] }, { backup: file })).rejects.toMatchObject({
      code: 'USAGE',
    })
    expect((await tenancy.tenants.get('careful')).status).toBe('active')
    await tenancy.tenants.drop({ tenants: ['careful'] })
  })
})

async function waitForFile(path: string): Promise<void> {
  for (const until = Date.now() + 10_000; !existsSync(path); ) {
    if (Date.now() > until) throw new Error(`${path} did not appear`)
    await sleep(20)
  }
}
