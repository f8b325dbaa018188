import pg from 'pg'
import { afterEach, beforeAll, describe, expect, inject, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'
import { snapshot } from './snapshot.ts'

const seeds = {
  '01.sql': "INSERT INTO a (x) VALUES ('same')",
  '02.sql': '-- seed:per-tenant\nINSERT INTO s.b VALUES (7)',
}

/** Every statement with TENANTCTL_TEST_ALL=1, one in forty otherwise. */
const stride = process.env.TENANTCTL_TEST_ALL ? 1 : 40

describe.each(['single', 'separate'] as const)('a process that dies, roles: %s', roles => {
  // Separate roles need PostgreSQL 15, or a superuser.
  const namespace = useNamespace({ admin: roles === 'separate' && inject('server').major < 15 ? 'superuser' : 'plain' })
  const query = pg.Client.prototype.query
  let reference: Record<string, unknown>
  let round = 0

  afterEach(() => {
    pg.Client.prototype.query = query
  })

  /** From the n-th statement on nothing reaches the server any more. `after`: the n-th itself still does. */
  function dieAt(n: number, after: boolean): { died: () => boolean } {
    let count = 0
    pg.Client.prototype.query = function (this: pg.Client, ...args: unknown[]) {
      count += 1
      if (count < n) return Reflect.apply(query, this, args)
      const callback = args.at(-1)
      const dead = (): unknown => {
        if (typeof callback !== 'function') return Promise.reject(new Error('dead'))
        return callback(new Error('dead'))
      }
      if (count > n || !after) return dead()
      if (typeof callback !== 'function') return (Reflect.apply(query, this, args) as Promise<unknown>).then(dead)
      return Reflect.apply(query, this, [...args.slice(0, -1), dead])
    } as typeof query
    return { died: () => count >= n }
  }

  function open(): Tenancy {
    return namespace.track(createTenancy(namespace.config({ roles, template: true })))
  }

  async function look(slug: string): Promise<Record<string, unknown>> {
    const tenancy = open()
    const tenant = await tenancy.tenants.get(slug)
    const url = (await tenancy.tenants.url(slug, { role: 'migrator' })).reveal()
    await tenancy.close()
    return snapshot(url, tenant.database)
  }

  beforeAll(async () => {
    namespace.writeMigrations({
      '001_a.sql': 'CREATE TABLE a (id serial, x text); CREATE SCHEMA s; CREATE TABLE s.b (x int)',
    })
    namespace.writeSeeds(seeds)
    const tenancy = open()
    await tenancy.tenants.create({ name: 'reference' })
    await tenancy.close()
    reference = await look('reference')
  })

  test.each([false, true])(
    'while copying leaves nothing that the next run does not finish (effect done: %s)',
    async after => {
      for (let n = 1 + (after ? 3 : 0); ; n += stride) {
        round += 1
        const name = `c${round}`
        const tenancy = open()
        const death = dieAt(n, after)
        await tenancy.tenants.create({ name }).catch(() => undefined)
        await tenancy.close()
        pg.Client.prototype.query = query
        const next = open()
        const made = await next.tenants.create({ name, ifNotExists: true })
        expect(made.status, `statement ${n}`).toBe('active')
        expect(await look(name), `statement ${n}`).toEqual(reference)
        // A drop from wherever it got to is the other way out.
        await next.tenants.drop({ tenants: [name] }, { force: true })
        await next.close()
        if (!death.died()) break
      }
      expect(await strays()).toEqual([])
    },
    300_000,
  )

  test('while building a template leaves nothing that the next builder does not remove', async () => {
    for (let n = 2; ; n += stride) {
      // Other seeds make another template.
      namespace.writeSeeds({ ...seeds, '01_b.sql': `SELECT ${n}` })
      await open().registry.install()
      const tenancy = open()
      const death = dieAt(n, n % 2 === 0)
      await tenancy.tenants.create({ name: 'first' }).catch(() => undefined)
      await tenancy.close()
      pg.Client.prototype.query = query
      const next = open()
      expect((await next.tenants.create({ name: 'first', ifNotExists: true })).status, `statement ${n}`).toBe('active')
      await next.tenants.create({ name: 'second' })
      expect(await look('first'), `statement ${n}`).toEqual(reference)
      expect(await look('second'), `statement ${n}`).toEqual(reference)
      await next.tenants.drop({ tenants: ['first', 'second'] }, { force: true })
      await next.close()
      expect(await strays(), `statement ${n}`).toEqual([])
      if (!death.died()) break
    }
  }, 300_000)

  /** Databases and roles of this admin that are neither a tenant's nor a finished template's. */
  async function strays(): Promise<unknown[]> {
    return namespace.superSql(
      `SELECT datname AS name FROM pg_database WHERE datdba = $1::regrole AND datname ~ '^tenantctl_(new|closed|building|checking)'
       UNION ALL SELECT r.rolname FROM pg_roles r JOIN pg_auth_members m ON m.roleid = r.oid
        WHERE m.member = $1::regrole AND r.rolname ~ '^tenantctl_(trial|template_.*migrator)'
       UNION ALL SELECT r.rolname || ' has a member' FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
        WHERE r.rolname ~ '^tenantctl_template' AND m.member <> $1::regrole
          AND (r.oid IN (SELECT roleid FROM pg_auth_members WHERE member = $1::regrole)
               OR EXISTS (SELECT FROM pg_database WHERE datdba = $1::regrole AND starts_with(r.rolname, datname)))`,
      [`${namespace.prefix}_admin`],
    )
  }
})
