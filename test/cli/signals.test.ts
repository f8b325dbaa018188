import { expect, test } from 'vitest'
import type { SignalName } from '../../src/cli/io.ts'
import { TenancyError } from '../../src/errors.ts'
import { fleet, runCli } from './fake.ts'

/** A create that waits for its signal, as one does that waits for a server. */
async function interrupted(signals: SignalName[], args = ['create', 'acme']) {
  let send: (signal: SignalName) => void = () => {}
  let closed = 0
  const create = (_input: unknown, { signal }: { signal: AbortSignal }) =>
    new Promise((_, reject) => {
      signal.addEventListener('abort', () => {
        setTimeout(() => reject(new TenancyError('ABORTED', 'interrupted while making acme')), 20)
      })
      for (const name of signals) send(name)
    })
  const result = await runCli(args, {
    tenancy: { tenants: { create }, close: async () => void closed++ },
    onStart: given => {
      send = given
    },
  })
  return { ...result, closed }
}

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s ends with %i, after the connections are closed', async (signal, exitCode) => {
  const result = await interrupted([signal])
  expect(result).toMatchObject({ exitCode, closed: 1, ended: [] })
  expect(result.stderr).toContain('error: interrupted while making acme')
})

test('a second signal leaves at once', async () => {
  expect((await interrupted(['SIGINT', 'SIGINT'])).ended).toEqual([130])
})

/** A migrate over many tenants, told which of its two signals fired. */
async function migrating(signals: SignalName[]) {
  let send: (signal: SignalName) => void = () => {}
  const fired: string[] = []
  const run = (_selection: unknown, { signal, drain }: { signal: AbortSignal; drain: AbortSignal }) =>
    new Promise(resolve => {
      drain.addEventListener('abort', () => fired.push('drain'))
      signal.addEventListener('abort', () => fired.push('cancel'))
      for (const name of signals) send(name)
      setTimeout(() => resolve(fleet('migrate', [])), 20)
    })
  const result = await runCli(['migrate', '--all'], {
    tenancy: { migrations: { run } },
    onStart: given => {
      send = given
    },
  })
  return { fired, exitCode: result.exitCode, ended: result.ended, stderr: result.stderr }
}

test('Ctrl-C during a fleet command begins no tenant, once more cancels, and once more leaves', async () => {
  const once = await migrating(['SIGINT'])
  expect(once).toMatchObject({ fired: ['drain'], exitCode: 130, ended: [] })
  expect(once.stderr).toContain('press Ctrl-C again to cancel')
  expect(await migrating(['SIGINT', 'SIGINT'])).toMatchObject({ fired: ['drain', 'cancel'], exitCode: 130, ended: [] })
  expect(await migrating(['SIGINT', 'SIGINT', 'SIGINT'])).toMatchObject({ ended: [130] })
})

test('SIGTERM cancels at once', async () => {
  expect(await migrating(['SIGTERM'])).toMatchObject({ fired: ['drain', 'cancel'], exitCode: 143 })
})

test('JSON output stays one line', async () => {
  const { stderr } = await interrupted(['SIGTERM'], ['create', 'acme', '--json'])
  expect(JSON.parse(stderr).error.code).toBe('ABORTED')
})
