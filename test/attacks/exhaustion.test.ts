import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { sql, tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { admins } from './support.ts'

describe.each(admins)('what belongs to all, with a %s admin', admin => {
  const namespace = useNamespace({ admin, allowSessions: true })
  let tenancy: Tenancy
  const held: pg.Client[] = []

  async function hold(url: string): Promise<void> {
    const client = new pg.Client(url)
    client.on('error', () => undefined)
    await client.connect()
    held.push(client)
  }

  beforeAll(async () => {
    namespace.writeMigrations({ '001_t.sql': 'CREATE TABLE t (a int)' })
    tenancy = namespace.track(createTenancy(namespace.config({ database: { connectionLimit: 3 } })))
    const greedy = Array.from({ length: 10 }, (_, number) => ({ name: `greedy${number}` }))
    expect(await tenancy.tenants.createMany([...greedy, { name: 'neighbour' }])).toMatchObject({ succeeded: 11 })
  })

  afterAll(async () => {
    await Promise.all(held.map(client => client.end()))
    await tenancy.close()
  })

  test('ten tenants get no more connections than their limit, and their neighbour and the admin get theirs', async () => {
    for (let number = 0; number < 10; number += 1) {
      const greedy = (await tenancy.tenants.url(`greedy${number}`)).reveal()
      for (let connection = 0; connection < 3; connection += 1) await hold(greedy)
      expect(await tryLogin(greedy)).toMatchObject({ ok: false, code: '53300' })
    }
    expect(await tryLogin((await tenancy.tenants.url('neighbour')).reveal())).toMatchObject({ ok: true })
    expect((await tryLogin(namespace.adminUrl)).ok).toBe(true)
    await held[0]?.query('ALTER ROLE CURRENT_USER CONNECTION LIMIT 100').then(
      () => expect.unreachable('a tenant raised its own limit'),
      error => expect(error.code).toBe('42501'),
    )
  })

  test('a tenant that sits in template1, and plants what it can there, keeps nobody out and reaches no new tenant', async () => {
    const template1 = urlWith((await tenancy.tenants.url('neighbour')).reveal(), { database: 'template1' })
    const login = await tryLogin(template1)
    if (login.ok) {
      await hold(template1)
      // Allowed before PostgreSQL 15.
      await sql(template1, `CREATE TABLE public.${namespace.prefix}_trojan (a int)`).catch(error =>
        expect(error.code).toBe('42501'),
      )
    }
    const clean = await tenancy.tenants.create({ name: 'clean' })
    const url = (await tenancy.tenants.url(clean.slug)).reveal()
    expect(await sql(url, `SELECT to_regclass('public.${namespace.prefix}_trojan') AS trojan`)).toEqual([
      { trojan: null },
    ])
    if (login.ok) await sql(template1, `DROP TABLE IF EXISTS public.${namespace.prefix}_trojan`)
  })
})
