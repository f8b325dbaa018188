import { describe, expect, test } from 'vitest'
import type { KeyRotation, KeyUse, RetainedTenant } from '../../src/index.ts'
import { fleet, refuse, runCli, tenant } from './fake.ts'

/** Tenants that keep in mind what was asked of them. */
function recording(result: unknown) {
  const calls: unknown[][] = []
  const method =
    (name: string) =>
    async (...given: unknown[]) => {
      const options = (given.length > 1 ? given.at(-1) : given[0]) as Record<string, unknown>
      const { signal: _s, drain: _d, onEvent: _e, ...rest } = options ?? {}
      calls.push([name, ...given.slice(0, -1), rest])
      return result
    }
  const names = ['suspend', 'resume', 'protect', 'unprotect', 'rotatePassword', 'undrop', 'purge', 'retained', 'drop']
  const tenants = Object.fromEntries(names.map(name => [name, method(name)]))
  return { calls, tenancy: { tenants: { ...tenants, select: async () => [tenant('acme'), tenant('globex')] } } }
}

const retained: RetainedTenant = {
  ...tenant('acme', { status: 'dropping', database: 'tenantctl_old_x', username: 'tenantctl_old_x' }),
  ...{ droppedAt: '2026-01-05T10:00:00.000Z', retainedUntil: '2026-01-12T10:00:00.000Z', expired: false },
  ...{ formerDatabase: 'tenant_acme', formerUsername: 'tenant_acme', formerStatus: 'active' },
}

describe.each([
  ['suspend', 'suspended'],
  ['resume', 'resumed'],
  ['protect', 'protected'],
  ['unprotect', 'unprotected'],
] as const)('%s', (command, status) => {
  test('takes a selection, asks nobody, and is a fleet command', async () => {
    const { calls, tenancy } = recording(fleet(command, [{ tenant: 'acme', status }]))
    const { stdout, exitCode } = await runCli([command, '--label', 'plan=pro', '--concurrency', '2'], { tenancy })
    expect(calls).toEqual([[command, { labels: { plan: 'pro' } }, { concurrency: 2 }]])
    expect(stdout).toContain(`1 ${status} of 1 tenant`)
    expect(exitCode).toBe(0)
    expect((await runCli([command], { tenancy })).exitCode).toBe(2)
  })

  test('of one named tenant ends as its error does, of several as a fleet', async () => {
    const error = { code: 'TENANT_FAILED' as const, message: 'tenant "acme" is failed' }
    const { tenancy } = recording(fleet(command, [{ tenant: 'acme', status: 'failed', error }]))
    const one = await runCli([command, 'acme'], { tenancy })
    expect(one).toMatchObject({ stdout: '', stderr: 'error: tenant "acme" is failed\n', exitCode: 4 })
    const json = await runCli([command, 'acme', '--json'], { tenancy })
    expect([JSON.parse(json.stderr), json.exitCode]).toEqual([{ error }, 4])
    expect(JSON.parse(json.stdout)).toMatchObject({ command, failed: 1 })

    const fleetOf = await runCli([command, '--all'], { tenancy })
    expect(fleetOf).toMatchObject({ stderr: '', exitCode: 5 })
    expect(fleetOf.stdout).toContain('✗ acme\n  tenant "acme" is failed')
  })
})

describe('rotate-password', () => {
  const result = fleet('rotate-password', [{ tenant: 'acme', status: 'rotated' }])

  test('asks first', async () => {
    const { calls, tenancy } = recording(result)
    const refused = await runCli(['rotate-password', 'acme', '--json'], { tenancy })
    expect([refused.exitCode, refused.stdout]).toEqual([2, ''])
    expect(JSON.parse(refused.stderr).error.message).toMatch(/^rotating a password needs a confirmation/)
    expect(calls).toEqual([])
    await runCli(['rotate-password', 'acme', '--yes', '--keep-sessions'], { tenancy })
    expect(calls).toEqual([['rotatePassword', { tenants: ['acme'] }, { keepSessions: true }]])
  })
})

describe('drop', () => {
  test.each([
    [[], {}],
    [['--retain', '7d'], { retain: '7d' }],
    [['--no-retain'], { retain: false }],
  ])('%j', async (args, options) => {
    const { calls, tenancy } = recording(fleet('drop', [{ tenant: 'acme', status: 'dropped' }]))
    expect((await runCli(['drop', 'acme', '-y', ...args], { tenancy })).exitCode).toBe(0)
    expect(calls).toEqual([['drop', { tenants: ['acme'] }, options]])
  })

  test('says until when the data is kept, and how to get it back', async () => {
    const outcome = { tenant: 'acme', status: 'dropped' as const, retainedUntil: '2026-01-12T10:00:00.000Z' }
    const { tenancy } = recording(fleet('drop', [outcome]))
    const { stdout, stderr } = await runCli(['drop', 'acme', '-y', '--retain', '7d'], { tenancy })
    expect(stdout).toContain('kept until 2026-01-12 10:00:00Z')
    expect(stderr).toContain('`tenantctl undrop acme` brings it back')
  })

  test.each(['7', '0', 'soon', '-1d'])('--retain %s is refused: a bare number would be milliseconds', async value => {
    const { stderr, exitCode } = await runCli(['drop', 'acme', '-y', `--retain=${value}`])
    expect(exitCode).toBe(2)
    expect(stderr).toContain('7d')
  })
})

describe('dropped tenants that are kept', () => {
  test('list --retained', async () => {
    const { tenancy } = recording([retained, { ...retained, slug: 'globex', expired: true }])
    const { stdout, stderr } = await runCli(['list', '--retained'], { tenancy })
    expect(stdout).toBe(
      `SLUG    NAME  ID                                    DROPPED               KEPT UNTIL
acme    Acme  ${retained.id}  2026-01-05 10:00:00Z  2026-01-12 10:00:00Z
globex  Acme  ${retained.id}  2026-01-05 10:00:00Z  2026-01-12 10:00:00Z (expired)
`,
    )
    expect(stderr).toContain('tenantctl undrop')
    const json = await runCli(['list', '--retained', '--json'], { tenancy })
    expect(JSON.parse(json.stdout)[0]).toEqual(retained)
    const clash = await runCli(['list', '--retained', '--status', 'failed'], { tenancy })
    expect([clash.exitCode, clash.stderr.includes('--status')]).toEqual([2, true])
  })

  test('undrop', async () => {
    const { calls, tenancy } = recording(tenant('acme-old'))
    const { stdout, exitCode } = await runCli(['undrop', 'acme', '--slug', 'acme-old'], { tenancy })
    expect(calls).toEqual([['undrop', 'acme', { slug: 'acme-old' }]])
    expect(stdout).toMatch(/^✓ Brought back acme-old\n/)
    expect(exitCode).toBe(0)
    const json = await runCli(['undrop', 'acme', '--json'], { tenancy })
    expect(JSON.parse(json.stdout)).toEqual(tenant('acme-old'))
  })

  test.each([
    ['TENANT_AMBIGUOUS', 4],
    ['TENANT_EXISTS', 4],
    ['TENANT_NOT_FOUND', 3],
  ] as const)('undrop: %s ends with %i', async (code, exitCode) => {
    const undrop = refuse(code, 'two of them', { hint: 'say which by its id:\nid-1\nid-2' })
    const result = await runCli(['undrop', 'acme'], { tenancy: { tenants: { undrop } } })
    expect(result.exitCode).toBe(exitCode)
    expect(result.stderr).toContain('id-2')
  })

  test('purge', async () => {
    const { calls, tenancy } = recording(fleet('purge', [{ tenant: 'acme', id: retained.id, status: 'purged' }]))
    expect((await runCli(['purge', '--dry-run', '--max', '3'], { tenancy })).stdout).toContain('1 purged of 1 tenant')
    expect(calls).toEqual([['purge', { dryRun: true, max: 3 }]])
    expect((await runCli(['purge', '--max', '0'], { tenancy })).exitCode).toBe(2)
    const none = await runCli(['purge'], recording(fleet('purge', [])))
    expect(none.stdout).toBe('No dropped tenant has expired.\n')
    const refused = refuse('LIMIT_EXCEEDED', '11 have expired')
    expect((await runCli(['purge'], { tenancy: { tenants: { purge: refused } } })).exitCode).toBe(4)
  })
})

describe('keys', () => {
  const rotation: KeyRotation = { keyId: 'aaa', total: 5, reencrypted: 3, upToDate: 2, failures: [], unused: ['bbb'] }
  const run = (result: KeyRotation, args: string[] = []) =>
    runCli(['key', 'rotate', ...args], { tenancy: { keys: { rotate: async () => result } } })

  test('rotate tells what was done and which key can go', async () => {
    const { stdout, stderr, exitCode } = await run(rotation)
    expect(stdout).toBe('✓ 3 passwords encrypted anew with key aaa, 2 had been already\n')
    expect(stderr).toContain('nothing in the registry needs key bbb any more')
    expect(exitCode).toBe(0)
    expect(JSON.parse((await run(rotation, ['--json'])).stdout)).toEqual(rotation)
  })

  test('rotate fails with what could not be opened', async () => {
    const failure = { keyId: 'ccc', passwords: 2, tenants: ['acme', 'globex'], code: 'DECRYPTION_FAILED' as const }
    const failures = [{ ...failure, message: 'sealed with key ccc', hint: 'add the old key' }]
    const { stdout, stderr, exitCode } = await run({ ...rotation, failures, unused: [] })
    expect(stdout).toContain('✗ 2 passwords not: acme, globex\n  sealed with key ccc\n  hint: add the old key')
    expect(stderr).not.toContain('any more')
    expect(exitCode).toBe(1)
  })

  test('list', async () => {
    const keys: KeyUse[] = [
      { keyId: 'aaa', passwords: 3, configured: true, current: true },
      { keyId: 'ext-kms', passwords: 0, configured: true, current: false },
      { keyId: 'bbb', passwords: 12, configured: false, current: false },
    ]
    const { stdout } = await runCli(['key', 'list'], { tenancy: { keys: { list: async () => keys } } })
    expect(stdout).toBe(
      `KEY      PASSWORDS  STATE
aaa              3  encrypts
ext-kms          0  decrypts
bbb             12  not configured
`,
    )
  })
})
