import { describe, expect, test } from 'vitest'
import type { PoolFilling, PoolStatus } from '../../src/index.ts'
import { runCli } from './fake.ts'

/** A stock that keeps in mind what was asked of it. */
function stock(result: unknown) {
  const calls: unknown[][] = []
  const method = (name: string) => async (options: Record<string, unknown>) => {
    const { signal: _s, onEvent: _e, ...rest } = options
    calls.push([name, rest])
    return result
  }
  return { calls, tenancy: { pool: { fill: method('fill'), status: method('status') } } }
}

const full: PoolStatus = { server: 'default', size: 2, ready: 2, stale: 0, unfinished: 0 }

describe('pool fill', () => {
  const filled: PoolFilling[] = [
    { ...full, made: 0, removed: 0 },
    { ...full, server: 'eu', made: 2, removed: 1 },
  ]

  test('tells for each server what is there, and what was done', async () => {
    const { calls, tenancy } = stock(filled)
    const { stdout, exitCode } = await runCli(['pool', 'fill'], { tenancy })
    expect(stdout).toBe('✓ default: 2 of 2 ready tenants\n✓ eu: 2 of 2 ready tenants (2 made, 1 removed)\n')
    expect([exitCode, calls]).toEqual([0, [['fill', {}]]])
  })

  test('takes a server and a size, 0 as well', async () => {
    const { calls, tenancy } = stock(filled)
    const { stdout } = await runCli(['pool', 'fill', '--server', 'eu', '--size', '0', '--json'], { tenancy })
    expect(JSON.parse(stdout)).toEqual(filled)
    expect(calls).toEqual([['fill', { server: 'eu', size: 0 }]])
    expect((await runCli(['pool', 'fill', '--size', 'many'], { tenancy })).exitCode).toBe(2)
  })
})

describe('pool status', () => {
  test('is a table, with what to do when it is not full', async () => {
    const { tenancy } = stock([full, { ...full, server: 'eu', ready: 0, stale: 1 }])
    const { stdout, stderr } = await runCli(['pool', 'status'], { tenancy })
    expect(stdout.split('\n').map(line => line.trim().split(/\s+/))).toEqual([
      ['SERVER', 'SIZE', 'READY', 'STALE', 'UNFINISHED'],
      ['default', '2', '2', '0', '0'],
      ['eu', '2', '0', '1', '0'],
      [''],
    ])
    expect(stderr).toContain('`tenantctl pool fill`')
    expect((await runCli(['pool', 'status'], stock([full]))).stderr).toBe('')
  })

  test('is a list in JSON', async () => {
    const { calls, tenancy } = stock([full])
    const { stdout } = await runCli(['pool', 'status', '--server', 'default', '--json'], { tenancy })
    expect(JSON.parse(stdout)).toEqual([full])
    expect(calls).toEqual([['status', { server: 'default' }]])
  })
})
