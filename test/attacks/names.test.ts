/** Names, labels, passwords and messages that mean something to a shell, to SQL, to a terminal or to a file system. */
import fc from 'fast-check'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, isTenancyError, type Tenancy } from '../../src/index.ts'
import { slugify } from '../../src/naming.ts'
import { sql, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { runBin } from '../support/process.ts'
import { admins } from './support.ts'

const evil = [
  `"; DROP DATABASE postgres; --`,
  `'; DROP ROLE postgres; --`,
  'a"b',
  "'",
  '\\',
  'nul\0nul',
  'line\nbreak',
  '\u202edlrow',
  '😀',
  'x'.repeat(64),
  'é'.repeat(64),
  'pg_x',
  'public',
  'none',
  'postgres',
  'template0',
  'template1',
  'tenantctl',
  '--all',
  '-y',
  '../../etc/passwd',
  '$(id)',
  '`id`',
  '%s%n',
  '\ud800',
  '\u001b[31m',
  '__proto__',
  'constructor',
  '',
  ' ',
]

describe('before any connection', () => {
  // Nothing listens there: whoever connects fails with another code.
  const tenancy = createTenancy({
    registry: { url: 'postgresql://admin:secret@127.0.0.1:1/registry' },
    encryption: { keys: [Buffer.alloc(32, 1).toString('base64')] },
  })
  const outcome = (input: Parameters<Tenancy['tenants']['create']>[0]) =>
    tenancy.tenants.create(input).then(
      () => 'created',
      error => (isTenancyError(error) ? error.code : error),
    )
  const text = fc.oneof(
    fc.constantFrom(...evil),
    fc.string({ unit: 'binary', maxLength: 80 }),
    fc.string({ unit: 'grapheme', maxLength: 80 }),
    fc.tuple(fc.constantFrom(...evil), fc.string({ maxLength: 20 })).map(([bad, more]) => bad + more),
  )
  const naming = { prefix: 'tenant_', reserved: [] }

  test('a name is refused, or becomes a harmless slug', async () => {
    await fc.assert(
      fc.asyncProperty(text, async name => {
        const code = await outcome({ name })
        if (code === 'NAME_INVALID') return
        expect(code).toBe('CONNECTION_FAILED')
        const slug = await slugify(name, naming)
        expect(slug).toMatch(/^[a-z](-?[a-z0-9])*$/)
        expect(slug.length).toBeLessThanOrEqual(56)
      }),
      { numRuns: 500 },
    )
  })

  test('a slug is taken as it is, or refused', async () => {
    await fc.assert(
      fc.asyncProperty(text, async slug => {
        const harmless = /^[a-z](-?[a-z0-9])*$/.test(slug) && slug.length <= 63
        const code = await outcome({ name: 'Acme', slug })
        expect([slug, code === 'NAME_INVALID' || harmless]).toEqual([slug, true])
      }),
      { numRuns: 500 },
    )
    for (const slug of evil)
      expect([slug, await outcome({ name: 'Acme', slug })]).toEqual([
        slug,
        /^(none|constructor)$/.test(slug) ? 'CONNECTION_FAILED' : 'NAME_INVALID',
      ])
  })

  test('a database name fits PostgreSQL whole, or is refused', async () => {
    await fc.assert(
      fc.asyncProperty(text, async database => {
        const code = await outcome({ name: 'Acme', database })
        if (code === 'NAME_INVALID') return
        expect(code).toBe('CONNECTION_FAILED')
        expect(Buffer.byteLength(database)).toBeLessThanOrEqual(63)
        expect(database).not.toMatch(/^(pg_|postgres$|template\d*$|tenantctl$|none$|public$)|[\p{Cc}\p{Surrogate}]/iu)
      }),
      { numRuns: 500 },
    )
  })

  test('a label can be stored, or is refused', async () => {
    await fc.assert(
      fc.asyncProperty(text, text, async (key, value) => {
        const code = await outcome({ name: 'Acme', labels: Object.fromEntries([[key, value]]) })
        if (code === 'NAME_INVALID') return
        expect(code).toBe('CONNECTION_FAILED')
        expect(key + value).not.toMatch(/[\p{Cc}\p{Surrogate}]/u)
      }),
      { numRuns: 500 },
    )
  })

  test('on the command line that is exit code 2', async () => {
    const env = {
      TENANTCTL_REGISTRY_URL: 'postgresql://admin:secret@127.0.0.1:1/registry',
      TENANTCTL_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
    }
    for (const args of [
      ['create', 'Acme', '--slug', `"; DROP DATABASE postgres; --`],
      ['create', 'Acme', '--slug', 'postgres'],
      ['create', 'Acme', '--database', 'template1'],
      ['create', 'Acme', '--label', 'a\nb=c'],
      ['create', '\u202e'],
      ['create', '--all'],
    ]) {
      const { exitCode, stderr } = await runBin([...args, '--json'], { env })
      expect([args, exitCode]).toEqual([args, 2])
      expect(stderr).not.toMatch(/ECONNREFUSED/)
    }
  })
})

describe.each(admins)('with a %s admin', admin => {
  const namespace = useNamespace({ admin })
  let tenancy: Tenancy

  beforeAll(async () => {
    namespace.writeMigrations({ '001.sql': 'CREATE TABLE notes (a int)' })
    tenancy = namespace.track(createTenancy(namespace.config()))
    await tenancy.registry.install()
  })

  afterAll(() => tenancy.close())

  test.each([`"; DROP DATABASE postgres; --`, `a'b"c\\d`, '$(id)', 'ünï %41 @:/?#', '../up', '%s%n', 'a b\u00a0c'])(
    'a database called %j is made, used and dropped',
    async name => {
      const database = `${namespace.prefix}${name}`
      await tenancy.tenants.create({ name: 'Odd', database })
      // In pieces: the driver of these tests does not read every name out of a URL.
      const { host, port, username, password } = await tenancy.tenants.connectionInfo('odd')
      const client = new pg.Client({ host, port, user: username, password: password.reveal(), database })
      await client.connect()
      await client.end()
      expect((await tenancy.migrations.status({ all: true })).upToDate).toBe(1)
      expect((await (await tenancy.connections.get('odd')).raw('SELECT current_user AS "user"')).rows).toEqual([
        { user: database },
      ])
      expect((await tenancy.tenants.drop({ all: true }, { force: true })).succeeded).toBe(1)
      expect(await namespace.leftovers()).toEqual({ databases: [], roles: [] })
    },
  )

  test.each([`'"\\ :/?#[]@!$&()*+,;=%`, 'p%40ss%', 'päss wörd ß ﬁ', 'x'.repeat(1024)])(
    'an admin logs in with the password %j',
    async password => {
      const role = `${namespace.prefix}_pw`
      await namespace.superSql(
        `CREATE ROLE ${role} LOGIN CREATEDB CREATEROLE PASSWORD '${password.replaceAll("'", "''").replaceAll('\\', '\\')}'`,
      )
      const url = urlWith(namespace.registryUrl, { user: role, password, database: `${namespace.prefix}_registry_pw` })
      const other = createTenancy(namespace.config({ registry: { url } }))
      await other.registry.install()
      await other.close()
      await namespace.superSql(`DROP DATABASE ${namespace.prefix}_registry_pw WITH (FORCE)`)
      await namespace.superSql(`DROP ROLE ${role}`)
    },
  )

  test('what a tenant, or its registry row, has in it is shown without its controls', async () => {
    const controls = 'x\u001b[2J\u001b]0;title\u0007\u009b31m\u202egnp.exe\u2066\u2028\r\nInjected: line'
    const inSql = `U&'${[...controls].map(each => `\\${(each.codePointAt(0) as number).toString(16).padStart(4, '0')}`).join('')}'`
    await tenancy.tenants.create({ name: 'Shown' })
    await sql(
      namespace.registryUrl,
      `UPDATE tenantctl.tenants SET name = ${inSql}, schema_version = ${inSql}, labels = jsonb_build_object('key', ${inSql}, ${inSql}, 'value')`,
    )
    const own = (await tenancy.tenants.url('shown')).reveal()
    await sql(
      own,
      `INSERT INTO knex_migrations (name, batch) VALUES (${inSql}, 1);
       CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING MESSAGE = ${inSql}, HINT = ${inSql}, DETAIL = ${inSql}; END $$;
       CREATE TRIGGER refuse BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION refuse()`,
    )
    namespace.writeSeeds({ '01.sql': 'INSERT INTO notes VALUES (1)' })
    namespace.writeConfig()
    for (const command of [
      ['list', '--size'],
      ['show', 'shown'],
      ['status', '--all', '--verbose'],
      ['seed', '--all', '--verbose'],
      ['operations', 'shown'],
      ['doctor'],
    ]) {
      for (const format of [[], ['--json']]) {
        const { stdout, stderr } = await runBin([...command, ...format], { cwd: namespace.directory })
        // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
        const found = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]|^Injected/m.exec(
          stdout + stderr,
        )
        expect([command, format, found?.[0]]).toEqual([command, format, undefined])
        if (format.includes('--json') && stdout !== '') JSON.parse(stdout)
      }
    }
    const [listed] = JSON.parse((await runBin(['list', '--json'], { cwd: namespace.directory })).stdout) as {
      name: string
    }[]
    expect(listed?.name).toBe(controls)
  }, 90_000)
})
