import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { expect, inject, onTestFinished, test } from 'vitest'
import { live } from './life.ts'

test('what a dead program still begins harms nobody else in this process', async () => {
  const uncaught: unknown[] = []
  const note = (error: unknown) => uncaught.push(error)
  process.on('uncaughtException', note)
  onTestFinished(() => void process.off('uncaughtException', note))
  const { superUrl } = inject('server')
  const connectionTimeoutMillis = 50

  const ending = await live({ at: 1, moment: 'before' }, async () => {
    const client = new pg.Client({ connectionString: superUrl })
    client.on('error', () => undefined)
    await client.connect()
    setImmediate(() => void new pg.Client({ connectionString: superUrl, connectionTimeoutMillis }).connect())
    await client.query('SELECT 1')
  })
  expect(ending).toMatchObject({ kind: 'died', statement: 'SELECT 1' })

  await sleep(4 * connectionTimeoutMillis)
  expect(uncaught).toEqual([])
})
