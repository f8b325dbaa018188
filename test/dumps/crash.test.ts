import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { sql, tryLogin } from '../support/client.ts'
import { canDump, startDumpServer, toolsDirectory } from '../support/dump-server.ts'
import { useNamespace } from '../support/namespace.ts'
import { startBin } from '../support/process.ts'
import type { TestServer } from '../support/servers.ts'

describe.skipIf(!canDump)('killed', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startDumpServer()
  })
  afterAll(async () => await server?.remove())
  const namespace = useNamespace({ server: () => server })

  let tenancy: Tenancy
  beforeAll(() => {
    namespace.writeMigrations({ '001_notes.sql': "CREATE TABLE notes AS SELECT 'kept'::text AS body" })
    namespace.writeConfig({ tools: { directory: pausingTools() } })
    tenancy = namespace.track(createTenancy(namespace.config()))
  })

  const at = (name: string) => join(namespace.directory, name)
  /** pg_dump and pg_restore that stop before or after their work while a file says so, and tell that they have come there. */
  function pausingTools(): string {
    const directory = at('tools')
    mkdirSync(directory)
    for (const tool of ['pg_dump', 'pg_restore']) {
      const pause = (when: string) =>
        `if [ -e ${at(`pause-${tool}-${when}`)} ]; then touch ${at('paused')}; while [ -e ${at('paused')} ]; do sleep 0.02; done; fi`
      const lines = [
        `[ "$1" = --version ] && exec ${toolsDirectory}/${tool} --version`,
        `case "$*" in *--list*|*/dev/null*) exec ${toolsDirectory}/${tool} "$@";; esac`,
        ...[
          pause('before'),
          `${toolsDirectory}/${tool} "$@"; code=$?`,
          pause('after'),
          `touch ${at('ended')}`,
          'exit $code',
        ],
      ]
      writeFileSync(join(directory, tool), `#!/bin/sh\n${lines.join('\n')}\n`)
      chmodSync(join(directory, tool), 0o755)
    }
    return directory
  }

  /** Runs the command until the program has come to where it is to stop, and kills it there. */
  async function killAt(pause: string, ...args: string[]): Promise<void> {
    writeFileSync(at(`pause-${pause}`), '')
    const running = startBin(args, { cwd: namespace.directory })
    try {
      await appears('paused', () => running.output())
      running.kill('SIGKILL')
      await running.done
    } finally {
      for (const file of [`pause-${pause}`, 'paused']) rmSync(at(file), { force: true })
    }
    // The orphaned program goes on, as one does whose terminal was closed.
    await appears('ended', () => running.output())
    rmSync(at('ended'))
  }
  async function appears(name: string, output: () => string): Promise<void> {
    for (const until = Date.now() + 15_000; !existsSync(at(name)); await sleep(20)) {
      if (Date.now() > until) throw new Error(`there is no ${name}:\n${output()}`)
    }
  }
  const backups = () => readdirSync(at('backups'))
  const dumpRoles = () => namespace.sql(`SELECT FROM pg_roles WHERE rolname LIKE 'tenantctl_dump_%'`)
  const url = async () => (await tenancy.tenants.url('acme')).reveal()

  test.each(['pg_dump-before', 'pg_dump-after'])(
    'in %s: all data is there, nothing looks like a backup',
    async pause => {
      await tenancy.tenants.create({ name: 'acme', ifNotExists: true })
      mkdirSync(at('backups'), { recursive: true })
      await killAt(pause, 'drop', 'acme', '--yes', '--backup', 'backups')
      expect(backups().filter(name => !name.endsWith('.partial'))).toEqual([])
      expect((await tenancy.tenants.get('acme')).status).toBe('suspended')
      expect(await tryLogin(await url())).toMatchObject({ ok: false })

      // What was cut off had not removed anything: repair lets the tenant in again.
      const repaired = await tenancy.repair({ tenants: ['acme'] })
      expect(repaired.tenants[0]).toMatchObject({ status: 'repaired' })
      expect((await tenancy.tenants.get('acme')).status).toBe('active')
      expect(await sql(await url(), 'SELECT body FROM notes')).toEqual([{ body: 'kept' }])
      expect(await dumpRoles()).toEqual([])
    },
  )

  test('resume mends it as well, and so does another drop', async () => {
    await killAt('pg_dump-before', 'drop', 'acme', '--yes', '--backup', 'backups')
    await tenancy.tenants.resume({ tenants: ['acme'] })
    expect(await sql(await url(), 'SELECT body FROM notes')).toEqual([{ body: 'kept' }])
    expect(await dumpRoles()).toEqual([])

    await killAt('pg_dump-before', 'drop', 'acme', '--yes', '--backup', 'backups')
    const { tenants } = await tenancy.tenants.drop({ tenants: ['acme'] }, { backup: at('backups') })
    expect(tenants[0]).toMatchObject({ status: 'dropped', backup: expect.stringMatching(/\.dump$/) })
    expect(existsSync(tenants[0]?.backup ?? '')).toBe(true)
    expect(await namespace.leftovers()).toEqual({ databases: [], roles: [] })
    expect(await dumpRoles()).toEqual([])
  })

  test.each(['pg_restore-before', 'pg_restore-after'])('in %s: restore goes on from there', async pause => {
    const dump = backups().find(name => name.endsWith('.dump')) as string
    await killAt(pause, 'restore', `backups/${dump}`, '--as', 'acme')
    expect((await tenancy.tenants.get('acme')).status).toBe('provisioning')
    await expect(tenancy.tenants.create({ name: 'acme' })).rejects.toMatchObject({ code: 'TENANT_FAILED' })
    const tenant = await tenancy.tenants.restore({ dump: join(at('backups'), dump), slug: 'acme' })
    expect(tenant).toMatchObject({ status: 'active', schemaVersion: '001_notes' })
    expect(await sql(await url(), 'SELECT body FROM notes')).toEqual([{ body: 'kept' }])
    await tenancy.tenants.drop({ tenants: ['acme'] })
  })

  test('repair finishes a restore', async () => {
    const dump = backups().find(name => name.endsWith('.dump')) as string
    await killAt('pg_restore-before', 'restore', `backups/${dump}`, '--as', 'acme')
    expect((await tenancy.repair({ tenants: ['acme'] })).tenants[0]).toMatchObject({ status: 'repaired' })
    expect((await tenancy.tenants.get('acme')).status).toBe('active')
    expect(await sql(await url(), 'SELECT body FROM notes')).toEqual([{ body: 'kept' }])
  })
})
