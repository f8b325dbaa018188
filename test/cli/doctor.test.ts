import { describe, expect, test } from 'vitest'
import type { CheckResult, DoctorResult } from '../../src/doctor/finding.ts'
import type { RepairResult } from '../../src/tenancy/repair.ts'
import { fleet, runCli } from './fake.ts'

const healthy: CheckResult[] = [
  { check: 'passwords', status: 'ok', message: 'the stored passwords of 2 tenants can be read' },
  { check: 'version', status: 'ok', server: 'default', message: 'PostgreSQL 18.4' },
]
const open: CheckResult = {
  check: 'maintenance-databases',
  status: 'warning',
  server: 'default',
  message: 'everybody may enter "postgres"',
  fix: 'REVOKE ALL ON DATABASE "postgres" FROM PUBLIC;',
}
const halfMade = (tenant: string): CheckResult => ({
  check: 'half-made',
  status: 'problem',
  server: 'default',
  tenant,
  message: 'it is provisioning, and nobody is at work on it',
  fix: `tenantctl repair ${tenant}`,
})

function doctor(checks: CheckResult[]): { tenancy: object; asked: object[] } {
  const asked: object[] = []
  const ok = !checks.some(({ status, fixed }) => status === 'problem' && !fixed)
  const result: DoctorResult = { ok, checks }
  return {
    asked,
    tenancy: {
      doctor: async ({ signal: _, onEvent: __, ...options }: Record<string, unknown>) => {
        asked.push(options)
        return result
      },
    },
  }
}

describe('doctor', () => {
  test('groups by server, and gives what puts a thing right beneath it', async () => {
    const { tenancy } = doctor([...healthy, open, halfMade('acme')])
    const { stdout, stderr, exitCode } = await runCli(['doctor'], { tenancy })
    expect(stdout).toBe(`registry
  ✓ the stored passwords of 2 tenants can be read

server default
  ✓ PostgreSQL 18.4
  ! everybody may enter "postgres"
      REVOKE ALL ON DATABASE "postgres" FROM PUBLIC;
  ✗ acme: it is provisioning, and nobody is at work on it
      tenantctl repair acme

1 problem, 1 warning
`)
    expect(stderr).toBe('')
    expect(exitCode).toBe(1)
  })

  test('exits 0 with warnings alone, and when all problems were fixed', async () => {
    expect((await runCli(['doctor'], doctor([...healthy, open]))).exitCode).toBe(0)
    const fixed = doctor([...healthy, { ...halfMade('acme'), fixed: true }])
    const { stdout, exitCode } = await runCli(['doctor', '--fix'], fixed)
    expect(stdout).toContain('✓ fixed: acme: it is provisioning, and nobody is at work on it')
    expect(stdout).toContain('no problems, 1 fixed')
    expect(exitCode).toBe(0)
    expect(fixed.asked).toEqual([{ fix: true, isolation: false, dropOrphans: [] }])
  })

  test('does not fill the screen with a thousand of a kind', async () => {
    const many = Array.from({ length: 1000 }, (_, index) => halfMade(`t${index}`))
    const { stdout } = await runCli(['doctor'], doctor(many))
    expect(stdout.split('\n').length).toBeLessThan(30)
    expect(stdout).toContain('and 990 more like that')
    const { stdout: all } = await runCli(['doctor', '--verbose'], doctor(many))
    expect(all).toContain('t999: ')
  })

  test('prints the result as JSON', async () => {
    const { tenancy } = doctor([...healthy, open])
    const { stdout } = await runCli(['doctor', '--json'], { tenancy })
    expect(JSON.parse(stdout)).toEqual({ ok: true, checks: [...healthy, open] })
  })

  test('hands the sample on', async () => {
    const sampled = doctor(healthy)
    await runCli(['doctor', '--isolation', '--sample', '5', '--server', 'eu'], sampled)
    await runCli(['doctor', '--all'], sampled)
    expect(sampled.asked).toEqual([
      { fix: false, isolation: true, sample: 5, server: 'eu', dropOrphans: [] },
      { fix: false, isolation: false, sample: 'all', dropOrphans: [] },
    ])
  })

  test.each([
    ['--drop-orphan', 'x'],
    ['--all', '--sample', '5'],
    ['--sample', '0'],
  ])('refuses %s %s %s', async (...args) => {
    const asked = doctor(healthy)
    expect((await runCli(['doctor', ...args], asked)).exitCode).toBe(2)
    expect(asked.asked).toEqual([])
  })

  test('drops no orphan unconfirmed', async () => {
    const asked = doctor(healthy)
    const refused = await runCli(['doctor', '--fix', '--drop-orphan', 'tenant_lost'], {
      ...asked,
      stdin: 'tenant_lost\n',
    })
    expect(refused.exitCode).toBe(2)
    expect(refused.stderr).toContain('--yes')
    expect(asked.asked).toEqual([])
    await runCli(['doctor', '--fix', '--drop-orphan', 'tenant_lost', '--yes'], asked)
    expect(asked.asked).toEqual([{ fix: true, isolation: false, dropOrphans: ['tenant_lost'] }])
  })
})

describe('repair', () => {
  const nothing = { leftovers: [], unreachable: [] }
  function repair(result: RepairResult): { tenancy: object; selections: unknown[] } {
    const selections: unknown[] = []
    return {
      selections,
      tenancy: {
        repair: async (selection: unknown) => {
          selections.push(selection)
          return result
        },
      },
    }
  }

  test('without a selection means all that need it', async () => {
    const { tenancy, selections } = repair({ ...fleet('repair', []), ...nothing })
    const { stdout, exitCode } = await runCli(['repair'], { tenancy })
    expect(selections).toEqual([undefined])
    expect(stdout).toBe('Nothing was left half-done.\n')
    expect(exitCode).toBe(0)
  })

  test('says what was done, and what was left alone', async () => {
    const result: RepairResult = {
      ...fleet('repair', [
        { tenant: 'acme', status: 'repaired', reason: 'finished its creation', durationMs: 900 },
        { tenant: 'globex', status: 'skipped', reason: 'locked by "migrate" of ada@laptop (pid 1) since …' },
      ]),
      leftovers: [
        { server: 'default', kind: 'database', name: 'tenant_x', status: 'removed' },
        { server: 'default', kind: 'database', name: 'tenant_y', status: 'left' },
      ],
      unreachable: [],
    }
    const { stdout, exitCode } = await runCli(['repair', '--all'], repair(result))
    expect(stdout).toMatch(/✓ acme +repaired +finished its creation/)
    expect(stdout).toMatch(/- globex +skipped +locked by "migrate"/)
    expect(stdout).toContain('✓ removed database tenant_x on server default, of no tenant any more')
    expect(stdout).toContain('! left database tenant_y on server default')
    expect(exitCode).toBe(0)
  })

  test('ends with the code of the one tenant that was named, or 5 for several', async () => {
    const error = { code: 'DATABASE_EXISTS' as const, message: 'database "tenant_acme" exists' }
    const failed = repair({ ...fleet('repair', [{ tenant: 'acme', status: 'failed', error }]), ...nothing })
    expect((await runCli(['repair', 'acme'], failed)).exitCode).toBe(4)
    expect((await runCli(['repair'], failed)).exitCode).toBe(5)
  })

  test('exits 6 when a server could not be searched', async () => {
    const error = { code: 'CONNECTION_FAILED' as const, message: 'connect ECONNREFUSED' }
    const unreachable = [{ server: 'eu', error }]
    const { stdout, exitCode } = await runCli(['repair'], repair({ ...fleet('repair', []), ...nothing, unreachable }))
    expect(stdout).toContain('✗ server eu')
    expect(exitCode).toBe(6)
  })
})
