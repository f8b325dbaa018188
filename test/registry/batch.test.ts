import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Batch } from '../../src/registry/batch.ts'

test('what comes while a write is under way goes together with the next', async () => {
  const written: (readonly number[])[] = []
  const batch = new Batch<number>(async items => {
    written.push(items)
    await sleep(10)
  })
  const first = batch.add(1)
  await sleep(1)
  await Promise.all([first, batch.add(2), batch.add(3), batch.add(4)])
  expect(written).toEqual([[1], [2, 3, 4]])
})

test('one that cannot be written does not fail the others', async () => {
  const written = new Set<number>()
  const batch = new Batch<number>(async items => {
    if (items.includes(3)) throw new Error('three')
    for (const item of items) written.add(item)
  })
  const results = await Promise.allSettled([1, 2, 3, 4].map(item => batch.add(item)))
  expect(results.map(result => result.status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled'])
  expect([...written]).toEqual([1, 2, 4])
})
