import { Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { lineProgress } from '../../src/cli/output/progress.ts'
import { ProgressState } from '../../src/cli/output/progress-state.ts'
import { plainStyle } from '../../src/cli/output/style.ts'
import type { TenancyEvent } from '../../src/events.ts'

const started: TenancyEvent = { event: 'fleet_started', command: 'migrate', total: 100, concurrency: 4 }
const finished = (status: string): TenancyEvent => ({ event: 'tenant_finished', tenant: 'a', status, durationMs: 1 })

test('a fleet has counts, rate and time left', () => {
  const state = new ProgressState()
  state.add(started, 0)
  expect(state.line(0)).toBe('migrating 0/100 · 100 left')
  for (let done = 0; done < 19; done += 1) state.add(finished('migrated'), 1000)
  state.add(finished('failed'), 2000)
  expect(state.line(2000)).toBe('migrating 20/100 · 19 done · 1 failed · 80 left · 10/s · ETA 8s')
  expect(state.line(2000, 120)).toContain('━━━━━───')
})

test('what fits into a terminal is what an operator needs most', () => {
  const state = new ProgressState()
  state.add({ ...started, total: 5000, upToDate: 1000 } as TenancyEvent, 0)
  for (const tenant of ['a', 'b', 'c', 'd', 'e']) state.add({ event: 'tenant_started', tenant }, 0)
  for (let done = 0; done < 30; done += 1) state.add(finished('migrated'), 1000)
  state.add(finished('failed'), 1000)
  const fitted = (width: number) => {
    const line = state.line(1000, width)
    expect(line.length).toBeLessThanOrEqual(width)
    return line
  }
  expect(fitted(115)).toBe(
    'migrating ━━━────────── 1031/5000 · 30 done · 1000 up to date · 1 failed · 4 running · 3969 left · 31/s · ETA 2m08s',
  )
  expect(fitted(77)).toBe('migrating 1031/5000 · 30 done · 1000 up to date · 1 failed · 31/s · ETA 2m08s')
  expect(fitted(50)).toBe('migrating 1031/5000 · 1 failed · 31/s · ETA 2m08s')
  expect(state.details(1000, 45)).toBe('b 1.0s, c 1.0s, and 2 more · slowest: a 1ms')
  expect(state.details(1000, 20)).toBe('b 1.0s, and 3 more · slowest: a 1ms')
})

test('the time left follows the last seconds, and no wait between two groups', () => {
  const state = new ProgressState()
  state.add(started, 0)
  for (let done = 0; done < 10; done += 1) state.add(finished('migrated'), 1000)
  state.add({ event: 'baking', tenants: 10, durationMs: 600_000, until: '' }, 1000)
  expect(state.line(1000)).toBe('migrating 10/100 · 90 left · the others in 10m00s')
  state.add({ event: 'tenant_started', tenant: 'b' }, 601_000)
  for (let done = 0; done < 10; done += 1) state.add(finished('migrated'), 602_000)
  expect(state.line(602_000)).toBe('migrating 20/100 · 1 running · 80 left · 10/s · ETA 8s')
  const error = { code: 'LOCK_TIMEOUT' as const, message: 'canceling statement due to lock timeout' }
  state.add({ event: 'retrying', tenant: 'b', attempt: 2, delayMs: 100, error }, 602_000)
  expect(state.line(602_000)).toContain('20/100 · 1 to retry · 80 left')
  state.add({ event: 'tenant_finished', tenant: 'b', status: 'failed', durationMs: 1 }, 602_000)
  expect(state.line(602_000)).toContain('21/100 · 20 done · 1 failed · 79 left')
})

test('a single tenant is told by its steps, made safe to print', () => {
  const state = new ProgressState()
  expect(state.line(0, 77)).toBe('')
  state.add({ event: 'step_started', tenant: 'a\u001bb', step: 'createDatabase', operationId: '1' }, 0)
  expect(state.line(0, 77)).toBe('a\\u001bb: create database')
})

test('without a terminal there is a line every five seconds at most', () => {
  let text = ''
  let now = 0
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += chunk
      done()
    },
  })
  const progress = lineProgress(stream, plainStyle, () => now)
  progress.event(started)
  for (now = 100; now <= 10_000; now += 100) progress.event(finished('migrated'))
  expect(text).toBe('migrating 50/100 · 50 left · 10/s · ETA 5s\nmigrating 100/100 · 10/s\n')
  progress.event({ event: 'waiting', tenant: 'acme', reason: 'another run holds its lock' })
  expect(text).toContain('acme  waiting: another run holds its lock\n')
})

test('on a terminal also who is at work, and the slowest', () => {
  const state = new ProgressState()
  state.add({ ...started, upToDate: 60 } as TenancyEvent, 0)
  for (const tenant of ['a', 'b', 'c', 'd', 'e', 'f']) state.add({ event: 'tenant_started', tenant }, 500)
  state.add({ event: 'tenant_finished', tenant: 'a', status: 'migrated', durationMs: 1500 }, 2000)
  state.add({ event: 'tenant_started', tenant: 'g' }, 2000)
  expect(state.line(2000)).toBe('migrating 61/100 · 1 done · 60 up to date · 6 running · 39 left · 0.5/s · ETA 1m18s')
  expect(state.details(2500)).toBe('b 2.0s, c 2.0s, d 2.0s, e 2.0s, and 2 more · slowest: a 1.5s')
})

test('a large fleet tells its failures as they come, but not thousands of them', () => {
  let text = ''
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += chunk
      done()
    },
  })
  const progress = lineProgress(stream, plainStyle, () => 0)
  progress.event(started)
  for (let index = 0; index < 50; index += 1) {
    const error = {
      code: 'MIGRATION_FAILED' as const,
      message: 'column "x" does not exist',
      migration: '4.sql',
      line: 2,
    }
    progress.event({ event: 'tenant_finished', tenant: `t${index}`, status: 'failed', durationMs: 1, error })
  }
  const held = {
    code: 'LOCK_TIMEOUT' as const,
    message: 'canceling statement due to lock timeout',
    hint: 'held by pid 7',
  }
  progress.event({ event: 'retrying', tenant: 'acme', attempt: 2, delayMs: 300, error: held })
  expect(text).toMatch(/acme {2}trying again in 300ms: canceling statement due to lock timeout, held by pid 7\n$/)
  const lines = text.trim().split('\n').slice(0, -1)
  expect(lines[0]).toBe('✗ t0  4.sql:2: column "x" does not exist')
  expect(lines).toHaveLength(21)
  expect(lines[20]).toContain('--verbose')
})
