import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, expect, test } from 'vitest'
import { RegistryCache } from '../../src/connections/registry-cache.ts'
import type { RegistryWatch } from '../../src/connections/registry-watch.ts'

interface Row {
  tenantId: string
  keys: string[]
  version: number
  usable: boolean
}

const rows = new Map<string, Row>()
let reads: number
let answer: () => Promise<void>
let watch: { epoch: number; provenAt: number; alive: boolean; start(): Promise<void>; ping(): Promise<boolean> }
let cache: RegistryCache<Row>

beforeEach(() => {
  rows.clear()
  put('1', 'acme')
  reads = 0
  answer = async () => undefined
  watch = {
    epoch: 1,
    provenAt: performance.now(),
    alive: true,
    start: async () => undefined,
    async ping() {
      if (this.alive) this.provenAt = performance.now()
      return this.alive
    },
  }
  const read = async (key: string) => {
    reads += 1
    const found = [...rows.values()].find(row => row.keys.includes(key))
    await answer()
    return found
  }
  cache = new RegistryCache<Row>(watch as unknown as RegistryWatch, read, row => row.usable, 50)
})

function put(id: string, slug: string, version = 1, usable = true): void {
  rows.set(id, { tenantId: id, keys: [id, slug], version, usable })
}

test('reads a thing once, and finds it under all of its keys', async () => {
  await Promise.all(Array.from({ length: 20 }, () => cache.get('acme')))
  expect(await cache.get('1')).toBe(await cache.get('acme'))
  expect(reads).toBe(1)
  expect(cache.size).toBe(1)
})

test('answers at once what it knows', async () => {
  await cache.get('acme')
  expect(cache.get('acme')).toMatchObject({ version: 1 })
})

test('reads again what was told to have changed', async () => {
  await cache.get('acme')
  put('1', 'acme', 2)
  cache.outdate('1')
  expect(await cache.get('acme')).toMatchObject({ version: 2 })
  expect(await cache.get('1')).toMatchObject({ version: 2 })
  expect(reads).toBe(2)
})

test('forgets a slug that has gone to another tenant', async () => {
  await cache.get('acme')
  put('1', 'old-acme')
  cache.outdate('1')
  put('2', 'acme', 7)
  expect(await cache.get('acme')).toMatchObject({ tenantId: '2', version: 7 })
  expect(await cache.get('1')).toMatchObject({ keys: ['1', 'old-acme'] })
})

test('reads once more when something changed while it read', async () => {
  let first = true
  answer = async () => {
    if (!first) return
    first = false
    put('1', 'acme', 2)
    cache.outdate('1')
  }
  expect(await cache.get('acme')).toMatchObject({ version: 2 })
})

test('lives on signs of life while it is told of changes', async () => {
  await cache.get('acme')
  await sleep(70)
  expect(await cache.get('acme')).toMatchObject({ version: 1 })
  expect(reads).toBe(1)
})

test('lives by its time to live when nobody tells it of changes', async () => {
  await cache.get('acme')
  watch.epoch = 0
  put('1', 'acme', 2)
  expect(await cache.get('acme')).toMatchObject({ version: 1 })
  await sleep(70)
  expect(await cache.get('acme')).toMatchObject({ version: 2 })
})

test('trusts nothing from before the connection was lost', async () => {
  await cache.get('acme')
  await sleep(70)
  watch.epoch = 2
  put('1', 'acme', 2)
  expect(await cache.get('acme')).toMatchObject({ version: 2 })
})

test('makes sure before it says that there is no such thing, or that it cannot be used', async () => {
  put('2', 'globex', 1, false)
  expect(await cache.get('globex')).toMatchObject({ usable: false })
  expect(await cache.get('nobody')).toBeUndefined()
  put('2', 'globex', 2, true)
  put('3', 'nobody')
  watch.ping = async () => {
    cache.outdate('2')
    cache.outdate('3')
    return true
  }
  expect(await cache.get('globex')).toMatchObject({ usable: true })
  expect(await cache.get('nobody')).toMatchObject({ tenantId: '3' })
})

test('serves what it knows when the registry does not answer, without making anybody wait twice', async () => {
  await cache.get('acme')
  watch.epoch = 0
  watch.alive = false
  answer = async () => {
    await sleep(100)
    throw new Error('down')
  }
  await sleep(70)
  expect(await cache.get('acme')).toMatchObject({ version: 1 })
  await sleep(70)
  const started = performance.now()
  expect(await cache.get('acme')).toMatchObject({ version: 1 })
  expect(performance.now() - started).toBeLessThan(20)
  await expect(cache.get('nobody')).rejects.toThrow('down')
  answer = async () => undefined
  put('1', 'acme', 2)
  await sleep(170)
  await cache.get('acme')
  await sleep(20)
  expect(await cache.get('acme')).toMatchObject({ version: 2 })
})

test('keeps ten thousand of them, and no more than it can hold', async () => {
  for (let index = 0; index < 60_000; index += 1) {
    put('1', 'acme', index)
    rows.set('1', { tenantId: `t${index}`, keys: [`t${index}`], version: 1, usable: true })
    await cache.get(`t${index}`)
  }
  expect(cache.size).toBeLessThanOrEqual(50_000)
  expect(cache.size).toBeGreaterThan(10_000)
})
