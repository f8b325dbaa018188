import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isTenancyError } from '../src/errors.ts'
import { checkDatabaseName, checkName, checkSlug, databaseName, roleName, slugify } from '../src/naming.ts'

const naming = { prefix: 'tenant_', reserved: ['staff'] }
const identity = { id: '0b6f2c1e-0000-7000-8000-000000000000', name: 'Acme' }
const slugPattern = /^[a-z]([a-z0-9]|-(?!-|$))*$/
const invalid = (part: string | RegExp) =>
  expect.objectContaining({ code: 'NAME_INVALID', message: expect.stringMatching(part) })
const thrownBy = (run: () => unknown) => {
  try {
    return run()
  } catch (error) {
    return error
  }
}

describe('slugify', () => {
  it.each([
    ['acme', 'acme'],
    ['Ácme & Söhne GmbH', 'acme-and-sohne-gmbh'],
    ['  Acme   Inc. ', 'acme-inc'],
    ['AT&T', 'at-and-t'],
    ['3M', 't-3m'],
    ['1&1', 't-1-and-1'],
    ['100% Bio', 't-100-percent-bio'],
    ["O'Reilly", 'oreilly'],
    ['L’Oréal', 'loreal'],
    ['acme.com', 'acme-com'],
    ['snake_case/and|pipe', 'snake-case-and-pipe'],
    ['Straße', 'strasse'],
    ['İstanbul', 'istanbul'],
    ['Łódź', 'lodz'],
    ['Яндекс', 'yandeks'],
    ['日本語', 'ri-ben-yu'],
    ['Acme™ ®', 'acme'],
    ['𝓐cme', 'acme'],
    ['ﬁrma', 'firma'],
    ['🎉 Party 🎉', 'party'],
    ['--- a --- b ---', 'a-b'],
    ['x"; DROP DATABASE postgres; --', 'x-drop-database-postgres'],
    ['../../etc/passwd', 'etc-passwd'],
  ])('makes %j into %s', async (name, slug) => {
    expect(await slugify(name, naming)).toBe(slug)
  })

  it('transliterates right-to-left names', async () => {
    expect(await slugify('שלום', naming)).toMatch(slugPattern)
    expect(await slugify('مرحبا', naming)).toMatch(slugPattern)
  })

  it('gives the same slug however the name is composed', async () => {
    expect(await slugify('A\u0301cme', naming)).toBe(await slugify('\u00c1cme', naming))
  })

  it('cuts a long name with a hash of the whole, so that two of them differ', async () => {
    const [one, two] = [
      await slugify(`${'long '.repeat(30)}one`, naming),
      await slugify(`${'long '.repeat(30)}two`, naming),
    ]
    expect(one).toMatch(/^long-.*-[0-9a-f]{8}$/)
    expect(one.length).toBeLessThanOrEqual(56)
    expect(one).toMatch(slugPattern)
    expect(one).not.toBe(two)
    expect(one.slice(0, -8)).toBe(two.slice(0, -8))
  })

  it('leaves a slug of the greatest length uncut, and its database too', async () => {
    const slug = await slugify('a'.repeat(56), naming)
    expect(slug).toBe('a'.repeat(56))
    expect(databaseName({ ...identity, slug }, naming)).toBe(`tenant_${'a'.repeat(56)}`)
    expect(await slugify('a'.repeat(64), { prefix: '', reserved: [] })).toHaveLength(63)
  })

  it.each(['🎉', '???', '-', '!'])('refuses %j, of which nothing is left, and names --slug', async name => {
    await expect(slugify(name, naming)).rejects.toMatchObject({
      code: 'NAME_INVALID',
      hint: expect.stringContaining('--slug'),
    })
  })

  it.each(['postgres', 'Template1', 'PUBLIC', 'all', 'Default!', 'tenantctl', 'www', 'Staff'])(
    'refuses %s',
    async name => {
      await expect(slugify(name, naming)).rejects.toEqual(invalid('reserved'))
    },
  )

  it('gives a slug that fits, or says that the name is invalid, for any text', async () => {
    const texts = fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 250 }),
      fc.string({ unit: 'binary', maxLength: 250 }),
      fc.string({ unit: 'grapheme-ascii', minLength: 40, maxLength: 220 }),
    )
    await fc.assert(
      fc.asyncProperty(
        texts,
        fc.constantFrom('', 'tenant_', 'a_prefix_of_forty_characters_at_the_most'),
        async (name, prefix) => {
          const rules = { prefix, reserved: [] }
          try {
            const slug = await slugify(name, rules)
            expect(slug).toMatch(slugPattern)
            expect(slug.length).toBeLessThanOrEqual(63 - prefix.length)
            expect(await checkSlug(slug, rules)).toBe(slug)
            expect(Buffer.byteLength(databaseName({ ...identity, slug }, rules))).toBeLessThanOrEqual(63)
          } catch (error) {
            if (!isTenancyError(error) || error.code !== 'NAME_INVALID') throw error
          }
        },
      ),
      { numRuns: 500 },
    )
  })
})

describe('checkName', () => {
  it.each(['Acme', 'مرحبا', '👩‍👩‍👧 family', 'x'.repeat(200), '🎉'.repeat(200)])('takes %j', name => {
    expect(checkName(name)).toBe(name)
  })

  it.each([
    ['', 'empty'],
    [' \t\n', 'empty'],
    ['\u200b\u200d', 'empty'],
    ['x'.repeat(201), '200'],
    ['a\0b', 'control'],
    ['a\nb', 'control'],
    ['a\x1b[31mb', 'control'],
    ['\ud800', 'Unicode'],
  ])('refuses %j', (name, reason) => {
    expect(thrownBy(() => checkName(name))).toEqual(invalid(reason))
  })
})

describe('checkSlug', () => {
  it.each(['a', 'acme', 'a-1-b', 'pg-tips', 'x'.repeat(63)])('takes %s', async slug => {
    expect(await checkSlug(slug, naming)).toBe(slug)
  })

  it.each(['', 'Acme', '3m', 'a--b', '-a', 'a-', 'a_b', 'ä', 'a b', 'x'.repeat(64), 'a\n'])(
    'refuses %j',
    async slug => {
      await expect(checkSlug(slug, naming)).rejects.toEqual(invalid('is not a slug'))
    },
  )

  it('suggests a slug that would do', async () => {
    await expect(checkSlug('Acme Inc', naming)).rejects.toMatchObject({ hint: 'perhaps: --slug acme-inc' })
  })

  it('refuses one that reads as the id of a tenant', async () => {
    await expect(checkSlug('ab6f2c1e-1111-7000-8000-000000000000', naming)).rejects.toEqual(invalid('id'))
  })
})

describe('databaseName', () => {
  it('is prefix and slug, with underscores', () => {
    const database = databaseName({ ...identity, slug: 'acme-inc' }, naming)
    expect(database).toBe('tenant_acme_inc')
    expect(roleName(database)).toBe('tenant_acme_inc')
  })

  it('is cut to 63 bytes with a hash of the slug', () => {
    const [one, two] = ['1', '2'].map(end => databaseName({ ...identity, slug: `${'x'.repeat(62)}${end}` }, naming))
    expect(one).toHaveLength(63)
    expect(one).toMatch(/_[0-9a-f]{8}$/)
    expect(one).not.toBe(two)
  })

  it('takes what naming.database says', () => {
    const rules = { ...naming, database: (tenant: { id: string }) => `t_${tenant.id}` }
    expect(databaseName({ ...identity, slug: 'acme' }, rules)).toBe(`t_${identity.id}`)
  })

  it.each([undefined, 3, '', 'postgres', 'x'.repeat(64)])(
    'refuses %j from naming.database and says whose it is',
    value => {
      const rules = { ...naming, database: () => value as string }
      expect(thrownBy(() => databaseName({ ...identity, slug: 'acme' }, rules))).toEqual(invalid('naming.database'))
    },
  )
})

describe('checkDatabaseName', () => {
  it.each(['acme', 'Acme Inc', 'x"; DROP DATABASE postgres; --', 'ä'.repeat(31)])('takes %j as it stands', name => {
    expect(checkDatabaseName(name)).toBe(name)
  })

  it.each([
    ['', 'empty'],
    ['x'.repeat(64), '64 bytes'],
    ['ä'.repeat(32), '64 bytes'],
    ['a\0b', 'control'],
    ['a\tb', 'control'],
    ['\udfff', 'Unicode'],
    [' acme', 'white space'],
    ...['postgres', 'template0', 'TEMPLATE1', 'pg_x', 'rdsadmin', 'cloudsqladmin', 'azure_sys', 'tenantctl'].map(
      name => [name, 'reserved'],
    ),
  ] as [string, string][])('refuses %j', (name, reason) => {
    expect(thrownBy(() => checkDatabaseName(name))).toEqual(invalid(reason))
  })
})
