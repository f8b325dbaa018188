import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { TenantOutcome } from '../../src/fleet/result.ts'
import { fleet, runCli, tenant } from './fake.ts'

const broken: TenantOutcome = {
  tenant: 'globex',
  status: 'failed',
  error: {
    code: 'MIGRATION_FAILED',
    message: 'column "x" does not exist',
    migration: '004_x.sql',
    line: 12,
    hint: 'fix the file',
  },
}

function recording(outcomes: TenantOutcome[]) {
  const calls: unknown[][] = []
  const run = async (
    selection: unknown,
    { signal: _s, drain: _d, onEvent: _e, ...options }: Record<string, unknown>,
  ) => {
    calls.push([selection, options])
    return fleet('migrate', outcomes)
  }
  const lint = async () => []
  return {
    calls,
    tenancy: { migrations: { run, status: run, plan: run, rollback: run, baseline: run, lint }, seeds: { run } },
  }
}

describe('selections', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tenantctl-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'tenants.txt'), '# the first ones\nacme\n\nglobex # big\r\nacme\n')

  test.each([
    [['acme', 'globex', 'acme'], { tenants: ['acme', 'globex'] }],
    [['--all'], { all: true }],
    [['--label', 'plan=pro', '--label', 'eu=yes'], { labels: { plan: 'pro', eu: 'yes' } }],
    [['--server', 'eu1', '--status', 'failed'], { server: 'eu1', status: 'failed' }],
    [['--failed-of', 'last'], { failedOf: 'last' }],
    [['--tenants-file', 'tenants.txt'], { tenants: ['acme', 'globex'] }],
    [['initech', '--tenants-file', '-'], { tenants: ['initech', 'hooli'] }],
  ])('%s', async (args, selection) => {
    const { calls, tenancy } = recording([])
    const { exitCode } = await runCli(['migrate', ...args], { tenancy, cwd: folder, stdin: 'hooli\n' })
    expect(exitCode).toBe(0)
    expect(calls).toEqual([[selection, {}]])
  })
})

test('rollout options are handed on as typed', async () => {
  const { calls, tenancy } = recording([])
  const args = ['--concurrency', '4', '--canary', '5%', '--max-failures', '3', '--retries', '0']
  const times = ['--lock-timeout', '5s', '--statement-timeout', '0', '--to', '003_x', '--verify', '--allow-changed']
  await runCli(['migrate', '--all', ...args, ...times], { tenancy })
  const options = { concurrency: 4, canary: '5%', maxFailures: 3, retries: 0, lockTimeout: '5s', statementTimeout: 0 }
  expect(calls).toEqual([[{ all: true }, { ...options, to: '003_x', verify: true, allowChanged: true }]])
})

describe('migrate', () => {
  const outcomes: TenantOutcome[] = [
    { tenant: 'acme', status: 'migrated', applied: ['003_labels'], durationMs: 120 },
    { tenant: 'initech', status: 'up_to_date', durationMs: 2 },
    broken,
    { tenant: 'hooli', status: 'skipped', reason: 'too many failures' },
  ]

  test('tells failures in full and exits 5', async () => {
    const { stdout, exitCode } = await runCli(['migrate', '--all'], { tenancy: recording(outcomes).tenancy })
    expect(exitCode).toBe(5)
    expect(stdout).toBe(
      `✓ acme     migrated    003_labels         120ms
✓ initech  up to date                     2ms
- hooli    skipped     too many failures

✗ globex  004_x.sql:12
  column "x" does not exist
  hint: fix the file

1 migrated, 1 up to date, 1 failed, 1 skipped of 4 tenants in 1.2s
`,
    )
  })

  test.each([['migrate'], ['seed'], ['baseline', '--to', '001']])(
    'a single named tenant is a fleet all the same: %s',
    async (command, ...more) => {
      const args = [command, 'globex', ...more]
      const { stdout, exitCode } = await runCli([...args, '--json'], { tenancy: recording([broken]).tenancy })
      expect(JSON.parse(stdout)).toEqual(fleet('migrate', [broken]))
      expect(exitCode).toBe(5)
      const text = await runCli(args, { tenancy: recording([broken]).tenancy })
      expect(text.stdout).toContain('1 failed of 1 tenant')
    },
  )

  test('of a large fleet lists only what failed', async () => {
    const many = Array.from({ length: 40 }, (_, index): TenantOutcome => ({ tenant: `t${index}`, status: 'migrated' }))
    const { stdout } = await runCli(['migrate', '--all'], { tenancy: recording([...many, broken]).tenancy })
    expect(stdout).toMatch(/^✗ globex/)
    const verbose = await runCli(['migrate', '--all', '-v'], { tenancy: recording([...many, broken]).tenancy })
    expect(verbose.stdout).toContain('✓ t39')
  })

  test('many failures are told by what they have in common', async () => {
    const failures = [
      {
        ...{ count: 37, code: 'MIGRATION_FAILED', sqlstate: '23505', migration: '005_x.sql', line: 12 },
        ...{ message: '005_x.sql, line 12: duplicate key value', tenants: ['t0', 't1'], hint: 'mend the rows' },
      },
    ]
    const outcomes = Array.from({ length: 37 }, (_, index): TenantOutcome => ({ ...broken, tenant: `t${index}` }))
    const result = {
      ...fleet('migrate', outcomes),
      failures,
      run: 'r_0mk3vq8z1abc',
      stopped: 'more than 5 tenants failed',
    }
    const { stdout, stderr, exitCode } = await runCli(['migrate', '--all'], {
      tenancy: { migrations: { run: async () => result } },
    })
    expect(exitCode).toBe(5)
    expect(stderr).toBe('hint: `tenantctl migrate --resume r_0mk3vq8z1abc` goes on with the run\n')
    expect(stdout).toBe(`✗ 37 tenants: 23505 duplicate key value in 005_x.sql, line 12
  t0, t1 and 35 more
  hint: mend the rows

37 failed of 37 tenants in 1.2s
stopped: more than 5 tenants failed
run r_0mk3vq8z1abc: \`tenantctl runs show r_0mk3vq8z1abc\` tells more
`)
  })

  test('--dry-run of many tenants tells them by version', async () => {
    const pending = [{ name: '004_x', sql: 'select 1' }]
    const plans = Array.from({ length: 1200 }, (_, index) => ({
      ...{ tenant: `t${index}`, from: index < 20 ? '001' : '003' },
      pending: index < 20 ? [{ name: '002', sql: 'select 2' }, ...pending] : pending,
    }))
    const { stdout } = await runCli(['migrate', '--all', '--dry-run'], {
      tenancy: { migrations: { plan: async () => plans, lint: async () => [] } },
    })
    expect(stdout).toContain(
      '1,180 tenants at 003: 1 pending\n    004_x\n20 tenants at 001: 2 pending\n    002\n    004_x\n',
    )
  })

  test('--plan and --resume have their own tenants', async () => {
    const { tenancy } = recording([])
    expect((await runCli(['migrate', '--resume', 'r_1'], { tenancy })).exitCode).toBe(0)
    for (const args of [
      ['--resume', 'r_1', '--all'],
      ['--plan', 'x.json', '--to', '1'],
      ['--plan', 'x.json', 'acme'],
      [],
    ]) {
      expect((await runCli(['migrate', ...args], { tenancy })).exitCode).toBe(2)
    }
  })

  test('--dry-run prints the SQL of a file once', async () => {
    const pending = [
      { name: '003_labels', sql: 'create table labels ();\n' },
      { name: '004_code', sql: null },
    ]
    const plan = async () => [
      { tenant: 'acme', from: '002', pending },
      { tenant: 'globex', from: null, pending },
      { tenant: 'initech', from: '004_code', pending: [] },
    ]
    const danger = (migration: string) => {
      return { migration, line: 1, rule: 'drop-table', message: 'DROP TABLE loses its rows', safer: 'later' }
    }
    const lint = async () => [danger('003_labels.sql'), danger('001_old.sql')]
    const tenancy = { migrations: { plan, lint } }
    const { stdout, exitCode } = await runCli(['migrate', '--all', '--dry-run'], { tenancy })
    expect(exitCode).toBe(0)
    // What is dangerous stands under the SQL, of the pending files alone.
    expect(stdout).toContain('labels ();\n! line 1: DROP TABLE loses its rows  drop-table\n    later\n')
    expect(stdout.match(/loses its rows/g)).toHaveLength(1)
    expect(stdout.match(/create table labels/g)).toHaveLength(1)
    expect(stdout).toContain('globex  from an empty schema\n    003_labels\n')
    expect(stdout).toContain('2 of 3 tenants would be migrated; nothing was changed')
    const json = await runCli(['migrate', '--all', '--dry-run', '--json'], { tenancy })
    expect(JSON.parse(json.stdout)).toMatchObject({
      ...{ command: 'migrate', dryRun: true, total: 3 },
      findings: [{ migration: '003_labels.sql', rule: 'drop-table' }],
    })
  })
})

describe('plan', () => {
  const plan = {
    ...{ tenantctl: 'plan', version: 1, registry: 'x', createdAt: '2026-01-05T10:00:00.000Z', to: null },
    migrations: [{ name: '004_x', file: '004_x.sql', checksum: 'c', sql: 'select 1' }],
    tenants: [{ id: '1', tenant: 'acme', from: '003', hash: 'h', pending: ['004_x'] }],
  }
  const migrations = { planFile: async () => plan, lint: async () => [], run: async () => fleet('migrate', []) }
  const tenancy = { migrations }
  const cwd = mkdtempSync(join(tmpdir(), 'tenantctl-'))
  afterAll(() => rmSync(cwd, { recursive: true }))

  test('-o plan.json writes it, and migrate --plan takes it', async () => {
    const { stdout, stderr, exitCode } = await runCli(['plan', '--all', '-o', 'plan.json'], { tenancy, cwd })
    expect({ exitCode, stderr }).toEqual({
      exitCode: 0,
      stderr: 'hint: written to plan.json; run it with `tenantctl migrate --plan plan.json`\n',
    })
    expect(stdout).toContain('acme  from 003\n    004_x')
    expect(stdout).toContain('\n1 tenant would be migrated; nothing was changed\n')
    expect(JSON.parse(readFileSync(join(cwd, 'plan.json'), 'utf8'))).toEqual(plan)
    expect((await runCli(['migrate', '--plan', 'plan.json'], { tenancy, cwd })).exitCode).toBe(0)
    expect((await runCli(['plan', '--all', '--json', '--out', 'b.json'], { tenancy, cwd })).stdout).toContain('"004_x"')
  })

  test('other commands write no file', async () => {
    const { stderr, exitCode } = await runCli(['status', '--all', '-o', 'x.json'], { tenancy, cwd })
    expect(exitCode).toBe(2)
    expect(stderr).toContain("argument 'x.json' is invalid. Allowed choices are text, json, ndjson.")
  })
})

describe('status', () => {
  const outcomes: TenantOutcome[] = [
    { tenant: 'acme', status: 'up_to_date', applied: ['a', 'b'], pending: [], to: 'b' },
    { tenant: 'globex', status: 'checked', applied: ['a'], pending: ['b'], to: 'a' },
  ]

  test('is 0 whatever is pending, and 5 with --check', async () => {
    const { tenancy } = recording(outcomes)
    expect((await runCli(['status', '--all'], { tenancy })).exitCode).toBe(0)
    expect((await runCli(['status', '--all', '--check'], { tenancy })).exitCode).toBe(5)
    expect((await runCli(['status', '--all', '--check'], recording(outcomes.slice(0, 1)))).exitCode).toBe(0)
    expect((await runCli(['status', '--all'], recording([broken]))).exitCode).toBe(5)
  })

  test('text', async () => {
    const { stdout } = await runCli(['status', '--all'], recording(outcomes))
    expect(stdout).toBe(
      `TENANT  SCHEMA  APPLIED  PENDING
acme    b             2  up to date
globex  a             1  b

2 tenants, 1 behind
`,
    )
    const behind = Array.from({ length: 203 }, (_, index) => ({ ...outcomes[1], tenant: `t${index}` }) as TenantOutcome)
    expect((await runCli(['status', '--all'], recording(behind))).stdout).toContain(
      'and 3 tenants more, with --verbose',
    )
  })
})

describe('drop', () => {
  const open: TenantOutcome = {
    ...{ tenant: 'acme', status: 'failed' },
    error: { code: 'CONNECTIONS_OPEN', message: 'app@10.0.0.1 is connected', hint: '--force ends it' },
  }
  const drop = (outcomes: TenantOutcome[]) => ({
    tenants: { drop: async () => fleet('drop', outcomes), select: async () => [tenant('acme'), tenant('globex')] },
  })

  test('of one named tenant ends as its error does', async () => {
    expect((await runCli(['drop', 'acme', '--yes'], { tenancy: drop([open]) })).exitCode).toBe(4)
    expect((await runCli(['drop', '--all', '--yes'], { tenancy: drop([open]) })).exitCode).toBe(5)
    expect((await runCli(['drop', 'acme', 'globex', '-y'], { tenancy: drop([open, open]) })).exitCode).toBe(5)
  })

  test.each([
    [['drop', 'acme']],
    [['drop', '--all']],
    [['drop', 'nobody', '--if-exists']],
    [['rollback', 'acme', '--steps', '1']],
  ])('%s without a terminal refuses before it looks at anything', async args => {
    const { stdout, stderr, exitCode } = await runCli([...args, '--json'], { stdin: 'acme\nacme\n' })
    expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 2 })
    expect(JSON.parse(stderr).error).toMatchObject({
      code: 'CONFIRMATION_REQUIRED',
      hint: expect.stringContaining('--yes'),
    })
  })

  test.each([
    [['--no-input'], {}],
    [[], { CI: 'true' }],
  ])('does not ask on a terminal with %s %o', async (args, env) => {
    const { exitCode } = await runCli(['drop', 'acme', ...args], { tty: true, env, stdin: 'acme\n' })
    expect(exitCode).toBe(2)
  })
})
