/** The commands that change something, as the sweeps run them. */
import { join } from 'node:path'
import { expect } from 'vitest'
import { isTenancyError, type Tenancy, type TenancyConfig } from '../../src/index.ts'
import { sql, tryLogin } from '../support/client.ts'
import type { Namespace } from '../support/namespace.ts'
import { registryOf } from './catalogs.ts'
import { type Command, single } from './sweep.ts'

/** What an ending that came to nothing, or had come to its end before, makes of the command when it is run again. */
const settled = ['TENANT_EXISTS', 'TENANT_NOT_FOUND']

export const migrations = {
  '001_notes.sql': 'CREATE TABLE notes (text text NOT NULL);\n-- migrate:down\nDROP TABLE notes;',
  '002_ran.sql': "CREATE TABLE ran (name text); INSERT INTO ran VALUES ('002');\n-- migrate:down\nDROP TABLE ran;",
}

const more = {
  ...migrations,
  '003_sql.sql':
    "INSERT INTO ran VALUES ('003'); ALTER TABLE notes ADD more int;\n-- migrate:down\nALTER TABLE notes DROP more; DELETE FROM ran WHERE name = '003';",
  '004_module.mjs': `export const up = async knex => { await knex('ran').insert({ name: '004' }); await knex.schema.createTable('made', t => t.integer('id')) }
    export const down = async knex => { await knex.schema.dropTable('made'); await knex('ran').where({ name: '004' }).del() }`,
}

const concurrently = {
  ...migrations,
  '003_index.sql': `-- migrate:no-transaction
INSERT INTO ran VALUES ('003a');
CREATE INDEX CONCURRENTLY ran_name ON ran (name);
INSERT INTO ran VALUES ('003b');
-- migrate:down
DELETE FROM ran WHERE name = '003b';
DROP INDEX CONCURRENTLY ran_name;
DELETE FROM ran WHERE name = '003a';`,
}

export const seeds = { '01_a.sql': "INSERT INTO notes VALUES ('a');", '02_b.sql': "INSERT INTO notes VALUES ('b');" }

/** Writes the folders that the commands read; to be called once. */
export function writeFolders(namespace: Namespace): void {
  namespace.writeMigrations(migrations)
  namespace.writeSeeds(seeds)
  for (const [folder, files] of Object.entries({ more, concurrently })) {
    for (const [name, text] of Object.entries(files)) namespace.writeFile(join(folder, name), text)
  }
}

export function commandsOf(namespace: Namespace) {
  const withMigrations = (folder: string): TenancyConfig => ({
    migrations: { directory: join(namespace.directory, folder) },
  })
  // Before PostgreSQL 15 only a superuser can keep two roles of a tenant apart.
  const roles = namespace.major >= 15 ? 'separate' : 'single'
  const separate: TenancyConfig = { roles }
  const created: Command = {
    name: 'create',
    ready: remove,
    run: (tenancy, slug) => tenancy.tenants.create({ name: slug }),
    args: slug => ['create', slug],
    again: (tenancy, slug) => tenancy.tenants.create({ name: slug, ifNotExists: true }),
    async verify(tenancy, slug) {
      if (await exists(tenancy, slug)) await expectUsable(tenancy, slug)
    },
  }
  const dropped = drops('drop', false, async (tenancy, slug) => {
    if (await exists(tenancy, slug)) await expectUsable(tenancy, slug)
  })
  const bringBack = async (tenancy: Tenancy, slug: string) => {
    if (!(await exists(tenancy, slug))) await tenancy.tenants.undrop(slug)
    await expectUsable(tenancy, slug)
  }
  const retained = drops('retain', '1 day', bringBack)
  const undropped: Command = {
    name: 'undrop',
    async ready(tenancy, slug) {
      await present(tenancy, slug)
      await retained.run(tenancy, slug)
    },
    run: (tenancy, slug) => tenancy.tenants.undrop(slug),
    args: slug => ['undrop', slug],
    again: (tenancy, slug) => unlessSettled(tenancy.tenants.undrop(slug)),
    verify: bringBack,
  }
  const rotate = (tenancy: Tenancy, slug: string) => single(tenancy.tenants.rotatePassword({ tenants: [slug] }))
  const rotated: Command = {
    name: 'rotate',
    ready: present,
    run: rotate,
    args: slug => ['rotate-password', slug, '--yes'],
    again: rotate,
    verify: expectUsable,
  }
  const migrate = (tenancy: Tenancy, slug: string) => single(tenancy.migrations.run({ tenants: [slug] }))
  const rollback = (tenancy: Tenancy, slug: string) =>
    single(tenancy.migrations.rollback({ tenants: [slug] }, { to: '002_ran' }))
  const migrated: Command = {
    name: 'migrate',
    config: withMigrations('more'),
    async ready(tenancy, slug) {
      await present(tenancy, slug)
      await rollback(tenancy, slug)
    },
    run: migrate,
    args: slug => ['migrate', slug],
    again: migrate,
    async verify(tenancy, slug) {
      await expectUsable(tenancy, slug, { schemaVersion: /^00[234]_/ })
      await migrate(tenancy, slug)
      expect(await tenancy.tenants.get(slug)).toMatchObject({ schemaVersion: '004_module' })
      expect(await column(tenancy, slug, 'SELECT name FROM ran ORDER BY name')).toEqual(['002', '003', '004'])
    },
  }
  const index: Command = {
    ...migrated,
    name: 'index',
    config: withMigrations('concurrently'),
    async verify(tenancy, slug) {
      await expectUsable(tenancy, slug, { schemaVersion: /^00[23]_/ })
      await migrate(tenancy, slug)
      expect(await tenancy.tenants.get(slug)).toMatchObject({ schemaVersion: '003_index' })
      expect(await column(tenancy, slug, 'SELECT name FROM ran ORDER BY name')).toEqual(['002', '003a', '003b'])
      const valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ran_name'::regclass"
      expect(await column(tenancy, slug, valid)).toEqual([true])
    },
  }
  const rolledBack: Command = {
    name: 'rollback',
    config: withMigrations('more'),
    async ready(tenancy, slug) {
      await present(tenancy, slug)
      await migrate(tenancy, slug)
    },
    run: rollback,
    args: slug => ['rollback', slug, '--to', '002_ran', '--yes'],
    again: rollback,
    async verify(tenancy, slug) {
      await expectUsable(tenancy, slug, { schemaVersion: /^00[234]_/ })
      await rollback(tenancy, slug)
      expect(await tenancy.tenants.get(slug)).toMatchObject({ schemaVersion: '002_ran' })
      expect(await column(tenancy, slug, 'SELECT name FROM ran ORDER BY name')).toEqual(['002'])
    },
  }
  const seeded: Command = {
    name: 'seed',
    async ready(tenancy, slug) {
      await present(tenancy, slug)
      await column(tenancy, slug, 'DELETE FROM notes')
    },
    run: (tenancy, slug) => single(tenancy.seeds.run({ tenants: [slug] })),
    args: slug => ['seed', slug],
    async verify(tenancy, slug) {
      // Each file whole, in their order, and none twice: also where the connection was lost and the run went on.
      const found = await column(tenancy, slug, 'SELECT text FROM notes ORDER BY text')
      expect([[], ['a'], ['a', 'b']]).toContainEqual(found)
    },
  }
  const suspend = (tenancy: Tenancy, slug: string) => single(tenancy.tenants.suspend({ tenants: [slug] }))
  const resume = (tenancy: Tenancy, slug: string) => single(tenancy.tenants.resume({ tenants: [slug] }))
  const suspended: Command = {
    name: 'suspend',
    ready: present,
    run: suspend,
    args: slug => ['suspend', slug, '--yes'],
    again: suspend,
    async verify(tenancy, slug) {
      const { status } = await tenancy.tenants.get(slug)
      expect((await tryLogin((await tenancy.tenants.url(slug)).reveal())).ok).toBe(status === 'active')
      if (status === 'suspended') await resume(tenancy, slug)
      await expectUsable(tenancy, slug)
    },
  }
  const resumed: Command = {
    ...suspended,
    name: 'resume',
    async ready(tenancy, slug) {
      await present(tenancy, slug)
      await suspend(tenancy, slug)
    },
    run: resume,
    args: slug => ['resume', slug],
    again: resume,
  }
  const protect: Command = {
    name: 'protect',
    async ready(tenancy, slug) {
      await present(tenancy, slug)
      await single(tenancy.tenants.unprotect({ tenants: [slug] }))
    },
    run: (tenancy, slug) => single(tenancy.tenants.protect({ tenants: [slug] })),
    args: slug => ['protect', slug],
    verify: expectUsable,
  }
  const copied: Command = {
    ...created,
    name: 'create-copy',
    config: { template: true },
    async ready(tenancy, slug) {
      // Whoever comes first builds the template.
      await present(tenancy, 'first-copy')
      await remove(tenancy, slug)
    },
  }
  const stocked: TenancyConfig = { roles, template: true, pool: { size: 1 } }
  const taken: Command = {
    ...created,
    name: 'take',
    config: stocked,
    async ready(tenancy, slug) {
      await remove(tenancy, slug)
      await tenancy.pool.fill()
    },
  }
  const filled: Command = {
    name: 'fill',
    config: stocked,
    // One that has become stale in the meantime is removed, and another one made.
    async ready(tenancy) {
      await tenancy.pool.fill()
      await sql(registryOf(namespace), "UPDATE tenantctl.ready_tenants SET template = 'an_older_one'")
    },
    run: tenancy => tenancy.pool.fill(),
    args: () => ['pool', 'fill'],
    again: tenancy => tenancy.pool.fill(),
    async verify(tenancy) {
      const [status] = await tenancy.pool.status()
      expect(status?.unfinished).toBe(0)
      // Also one that is whole, and whose filling died before it could say so, is gone.
      expect((await tenancy.pool.fill())[0]).toMatchObject({ ready: 1, stale: 0 })
    },
  }
  return {
    ...{
      take: taken,
      fill: filled,
      create: created,
      drop: dropped,
      retain: retained,
      undrop: undropped,
      rotate: rotated,
      migrate: migrated,
      index,
    },
    ...{ rollback: rolledBack, seed: seeded, suspend: suspended, resume: resumed, protect },
    createCopy: copied,
    createSeparate: { ...created, name: 'create-separate', config: separate },
    dropSeparate: { ...dropped, name: 'drop-separate', config: separate },
    retainSeparate: { ...retained, name: 'retain-separate', config: separate },
    undropSeparate: { ...undropped, name: 'undrop-separate', config: separate },
    rotateSeparate: { ...rotated, name: 'rotate-separate', config: separate },
  } satisfies Record<string, Command>
}

function drops(name: string, retain: string | false, verify: Command['verify']): Command {
  const drop = (tenancy: Tenancy, slug: string) =>
    single(tenancy.tenants.drop({ tenants: [slug] }, { retain, force: true }))
  return {
    name,
    ready: present,
    run: drop,
    args: slug => ['drop', slug, '--yes', '--force', ...(retain === false ? [] : ['--retain', retain])],
    again: (tenancy, slug) => unlessSettled(drop(tenancy, slug)),
    verify,
  }
}

async function present(tenancy: Tenancy, slug: string): Promise<void> {
  await tenancy.tenants.create({ name: slug, ifNotExists: true })
}

async function remove(tenancy: Tenancy, slug: string): Promise<void> {
  await single(tenancy.tenants.drop({ tenants: [slug] }, { ifExists: true, retain: false, force: true }))
}

async function unlessSettled(running: Promise<unknown>): Promise<void> {
  await running.catch(error => {
    if (!isTenancyError(error) || !settled.includes(error.code)) throw error
  })
}

async function exists(tenancy: Tenancy, slug: string): Promise<boolean> {
  return (await tenancy.tenants.list()).some(tenant => tenant.slug === slug)
}

/** Active, and its own login finds everything that belongs to it. */
export async function expectUsable(
  tenancy: Tenancy,
  slug: string,
  { schemaVersion = /^002_ran$/ }: { schemaVersion?: RegExp } = {},
): Promise<void> {
  const tenant = await tenancy.tenants.get(slug)
  expect(tenant).toMatchObject({ status: 'active', schemaVersion: expect.stringMatching(schemaVersion) })
  expect(await column(tenancy, slug, 'SELECT text FROM notes ORDER BY text')).toEqual(['a', 'b'])
}

/** What a query gives to the tenant itself: of its first column. */
async function column(tenancy: Tenancy, slug: string, text: string): Promise<unknown[]> {
  return (await sql((await tenancy.tenants.url(slug)).reveal(), text)).map(row => Object.values(row)[0])
}
