import { describe, expect, test } from 'vitest'
import { exitCodes } from '../../src/cli/exit-codes.ts'
import { type ErrorCode, errorCodes } from '../../src/errors.ts'
import type { TenancyEvent } from '../../src/events.ts'
import { fleet, operation, refuse, runCli, secretUrl, tenant } from './fake.ts'

const tenants = [
  tenant('acme', { labels: { plan: 'pro' } }),
  tenant('globex', { status: 'failed', schemaVersion: null }),
]
const list = async () => tenants

describe('global options', () => {
  test.each([
    [['--json', 'list']],
    [['list', '--json']],
    [['-o', 'json', 'list']],
    [['list', '--output', 'json']],
    [['list', '-ojson']],
  ])('%s prints one document', async args => {
    const { stdout, stderr, exitCode } = await runCli(args, { tenancy: { tenants: { list } } })
    expect(JSON.parse(stdout)).toEqual(tenants)
    expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 })
  })

  test('settings reach the configuration from either side', async () => {
    const given: unknown[] = []
    const resolveConfig = async (input: unknown) => {
      given.push(input)
      return { config: {}, settings: [], file: null }
    }
    const args = ['-c', 'a.ts', 'list', '--registry', 'postgres://x', '--migrations', 'm', '--seeds', 's', '--embedded']
    await runCli(args, { tenancy: { tenants: { list } }, library: { resolveConfig }, env: { A: 'b' }, cwd: '/here' })
    const flags = { config: 'a.ts', registry: 'postgres://x', migrations: 'm', seeds: 's', embedded: true }
    expect(given).toEqual([{ flags, env: { A: 'b' }, cwd: '/here' }])
  })
})

describe('text', () => {
  test('tells what happens before the command has begun, such as the start of a server', async () => {
    const told: unknown[] = []
    const event: TenancyEvent = { event: 'server_started', server: 'default', message: 'started PostgreSQL 18.4' }
    const library = {
      resolveConfig: async () => ({
        config: { onEvent: (each: unknown) => told.push(each) },
        settings: [],
        file: null,
      }),
      createTenancy: ({ onEvent }: { onEvent: (event: TenancyEvent) => void }) => {
        onEvent(event)
        return { tenants: { list }, close: async () => {} }
      },
    }
    expect((await runCli(['list'], { library })).stderr).toBe('started PostgreSQL 18.4\n')
    expect((await runCli(['list', '--json'], { library })).stderr).toBe('')
    expect((await runCli(['list', '-o', 'ndjson'], { library })).stdout.split('\n')[0]).toBe(JSON.stringify(event))
    expect(told).toEqual([event, event, event])
  })

  test("tells what happens while the command runs to the configuration's listener as well", async () => {
    const told: unknown[] = []
    const event: TenancyEvent = { event: 'notice', message: 'a remark' }
    const library = {
      resolveConfig: async () => ({
        config: { onEvent: (each: unknown) => told.push(each) },
        settings: [],
        file: null,
      }),
    }
    const create = async (_: unknown, { onEvent }: { onEvent: (event: TenancyEvent) => void }) => {
      onEvent(event)
      return { ...tenant('acme'), created: true }
    }
    expect((await runCli(['create', 'acme'], { tenancy: { tenants: { create } }, library })).stderr).toContain(
      'a remark',
    )
    expect(told).toEqual([event])
  })

  test('is a table without borders or control characters', async () => {
    const { stdout } = await runCli(['list'], { tenancy: { tenants: { list } } })
    expect(stdout).toBe(
      [
        'SLUG    NAME    STATUS  DATABASE       SCHEMA               CREATED               LABELS',
        'acme    Acme    active  tenant_acme    20260103_add_labels  2026-01-05 10:00:00Z  plan=pro',
        'globex  Globex  failed  tenant_globex  -                    2026-01-05 10:00:00Z',
        '',
      ].join('\n'),
    )
  })

  test('on a terminal cuts names to what is left beside the other columns, and elsewhere nothing', async () => {
    const name = 'ü'.repeat(200)
    const tenancy = { tenants: { list: async () => [tenant('acme', { name })] } }
    const onTerminal = async (columns: number) => {
      const { stdout } = await runCli(['list', '--no-color'], { tenancy, tty: true, columns })
      return stdout.split('\n').map(line => Array.from(line).length)
    }
    expect(Math.max(...(await onTerminal(120)))).toBe(120)
    expect((await runCli(['list', '--no-color'], { tenancy, tty: true, columns: 120 })).stdout).toMatch(
      /acme {2}ü+… {2}active/,
    )
    // Where there is no room at all, the other columns are not cut.
    expect((await runCli(['list', '--no-color'], { tenancy, tty: true, columns: 20 })).stdout).toContain('tenant_acme')
    expect((await runCli(['list'], { tenancy })).stdout).toContain(name)
  })

  test('cannot be used to move the cursor', async () => {
    const name = 'Evil\u001b[2J\u009b31m\r\nroot\u202etxt\u061c'
    const tenancy = { tenants: { list: async () => [tenant('evil', { name, labels: { 'a\u001b': '\u0007' } })] } }
    const { stdout } = await runCli(['list'], { tenancy })
    expect(stdout).toContain('Evil\\u001b[2J\\u009b31m\\u000d\\nroot\\u202etxt\\u061c')
    expect(stdout.split('\n')).toHaveLength(3)
    const json = await runCli(['list', '--json'], { tenancy })
    expect(json.stdout).toContain('root\\u202etxt\\u061c')

    const told = await runCli(['list'], { tenancy: { tenants: { list: refuse('QUERY_FAILED', 'no \u001b[31mway') } } })
    expect(told.stderr).toBe('error: no \\u001b[31mway\n')
  })

  test.each([
    [{ tty: true }, true],
    [{ tty: true, env: { NO_COLOR: '1' } }, false],
    [{ tty: true, env: { TERM: 'dumb' } }, false],
    [{ env: { FORCE_COLOR: '1' } }, true],
    [{ tty: true, env: { FORCE_COLOR: '0' } }, false],
    [{ env: { FORCE_COLOR: '1', NO_COLOR: '1' } }, false],
  ])('%o colours: %s', async (options, coloured) => {
    const { stdout } = await runCli(['list'], { tenancy: { tenants: { list } }, ...options })
    expect(stdout.includes('\u001b[')).toBe(coloured)
  })

  test('--no-color', async () => {
    const { stdout } = await runCli(['list', '--no-color'], { tenancy: { tenants: { list } }, tty: true })
    expect(stdout).not.toContain('\u001b')
  })

  test('show', async () => {
    const describe = async () => ({
      ...tenant('acme'),
      ...{ sizeBytes: 8_123_456, connections: 2, applied: [], pending: ['20260104_x'], host: 'db', port: 5432 },
      operations: [operation({ kind: 'migrate', status: 'failed', error: { code: 'X', message: 'no such column' } })],
      problem: null,
      missing: [],
    })
    const { stdout } = await runCli(['show', 'acme'], { tenancy: { tenants: { describe } } })
    expect(stdout).toContain('  size         7.7 MB\n')
    expect(stdout).toContain('Pending (1 migration)\n  20260104_x\n')
    expect(stdout).toContain('  2026-01-05 10:00:00Z  migrate  failed  800ms  no such column\n')
  })
})

describe('ndjson', () => {
  test('tells events as they happen and ends with the fields of the document', async () => {
    const event: TenancyEvent = { event: 'tenant_started', tenant: 'acme' }
    const result = fleet('migrate', [{ tenant: 'acme', status: 'migrated', applied: ['a'] }])
    const run = async (_selection: unknown, { onEvent }: { onEvent: (event: TenancyEvent) => void }) => {
      onEvent(event)
      return result
    }
    const { stdout } = await runCli(['migrate', '--all', '-o', 'ndjson'], { tenancy: { migrations: { run } } })
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line))
    expect(lines).toEqual([event, { event: 'finished', ...result }])
  })

  test('wraps a document that is an array', async () => {
    const { stdout } = await runCli(['list', '-o', 'ndjson'], { tenancy: { tenants: { list } } })
    expect(JSON.parse(stdout)).toEqual({ event: 'finished', tenants })
  })
})

describe('errors', () => {
  test.each(errorCodes.filter(code => code !== 'INTERNAL').map(code => [code, exitCodes[code]] as const))(
    '%s ends with %i',
    async (code, exitCode) => {
      const get = refuse(code as ErrorCode, 'what', { hint: 'next' })
      const shown = await runCli(['show', 'acme', '--json'], { tenancy: { tenants: { describe: get } } })
      expect(shown).toMatchObject({ stdout: '', exitCode })
      expect(shown.stderr).toBe(`{"error":{"code":"${code}","message":"what","hint":"next"}}\n`)
    },
  )

  const create = refuse('PROVISIONING_FAILED', 'tenant acme could not be made', {
    ...{ tenant: 'acme', step: 'migrate', migration: '003_x.sql', line: 12, sqlstate: '42601' },
    ...{ hint: '`tenantctl create acme` goes on', detail: 'Key (email)=(ada@example.com)' },
    cause: new Error('syntax error at or near "TABEL"'),
  })

  test('say what, which statement and what next', async () => {
    const { stderr } = await runCli(['create', 'acme'], { tenancy: { tenants: { create } } })
    expect(stderr).toBe(
      [
        'error: tenant acme could not be made',
        '  003_x.sql:12: syntax error at or near "TABEL"',
        '  hint: `tenantctl create acme` goes on',
        '',
      ].join('\n'),
    )
  })

  test('show row values and the stack with --verbose alone', async () => {
    const { stderr } = await runCli(['create', 'acme', '-v'], { tenancy: { tenants: { create } } })
    expect(stderr).toContain('sqlstate: 42601')
    expect(stderr).toContain('detail: Key (email)=(ada@example.com)')
    expect(stderr).toMatch(/\n {2}at .*fake\.ts/)
  })

  test('nobody foresaw are bugs', async () => {
    const broken = async () => {
      throw new TypeError('x is not a function')
    }
    const { stderr, exitCode } = await runCli(['create', 'acme'], { tenancy: { tenants: { create: broken } } })
    expect(exitCode).toBe(1)
    expect(stderr).toBe(
      'error: x is not a function (this is a bug in tenantctl)\n  hint: run the command again with --verbose and report what it prints\n',
    )
  })
})

describe('quiet', () => {
  test('prints the result alone', async () => {
    const create = async (_input: unknown, { onEvent }: { onEvent: (event: TenancyEvent) => void }) => {
      onEvent({ event: 'notice', message: 'a remark' })
      return { ...tenant('acme'), created: true }
    }
    const loud = await runCli(['create', 'acme'], { tenancy: { tenants: { create } } })
    expect(loud.stderr).toBe('a remark\nhint: connect with `tenantctl psql acme`\n')
    const quiet = await runCli(['create', 'acme', '-q'], { tenancy: { tenants: { create } } })
    expect(quiet).toMatchObject({ stdout: loud.stdout, stderr: '' })
  })
})

test('a password is printed by the commands made for it, alone', async () => {
  const made = { ...tenant('acme'), created: true }
  const tenancy = { tenants: { url: async () => secretUrl, create: async () => made } }
  expect((await runCli(['url', 'acme'], { tenancy })).stdout).toBe(`${secretUrl.reveal()}\n`)
  expect((await runCli(['create', 'acme'], { tenancy })).stdout).not.toContain('hunter2')
  const shown = await runCli(['create', 'acme', '--show-url', '--json'], { tenancy })
  expect(JSON.parse(shown.stdout)).toEqual({ ...tenant('acme'), url: secretUrl.reveal() })
})
