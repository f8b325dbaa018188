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
  expect(state.line(0, { bar: false })).toBe('migrate 0/100')
  for (let done = 0; done < 19; done += 1) state.add(finished('migrated'), 1000)
  state.add(finished('failed'), 2000)
  expect(state.line(2000, { bar: false })).toBe('migrate 20/100 · 1 failed · 10/s · 8.0s left')
  expect(state.line(2000, { bar: true })).toContain('━━━━━───')
})

test('a single tenant is told by its steps, made safe to print', () => {
  const state = new ProgressState()
  expect(state.line(0, { bar: true })).toBe('')
  state.add({ event: 'step_started', tenant: 'a\u001bb', step: 'createDatabase', operationId: '1' }, 0)
  expect(state.line(0, { bar: true })).toBe('a\\u001bb: create database')
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
  expect(text).toBe('migrate 50/100 · 10/s · 5.0s left\nmigrate 100/100 · 10/s\n')
  progress.event({ event: 'waiting', tenant: 'acme', reason: 'another run holds its lock' })
  expect(text).toContain('acme  waiting: another run holds its lock\n')
})
