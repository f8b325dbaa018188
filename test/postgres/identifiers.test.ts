import fc from 'fast-check'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { quoteIdentifier, quoteLiteral } from '../../src/postgres/identifiers.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
let client: pg.Client

beforeAll(async () => {
  client = new pg.Client({ connectionString: namespace.adminUrl })
  await client.connect()
})
afterAll(() => client.end())

const text = fc.oneof(
  fc.string({ unit: fc.constantFrom('"', "'", '\\', ';', '-', ' ', 'a', 'é', '\n', '$', '%', '\t', 'E', '😀') }),
  fc.string({ unit: 'grapheme' }),
)

test('an identifier is what it was, on the server', async () => {
  const identifier = text.filter(each => each !== '' && !each.includes('\0') && Buffer.byteLength(each) <= 63)
  await fc.assert(
    fc.asyncProperty(identifier, async name => {
      const { fields } = await client.query(`SELECT 1 AS ${quoteIdentifier(name)}`)
      expect(fields[0]?.name).toBe(name)
    }),
    { numRuns: 200 },
  )
})

test.each(['on', 'off'])('a literal is what it was, with standard_conforming_strings %s', async setting => {
  const { rows } = await client.query("SELECT current_setting('server_version_num')::int AS version")
  if (setting === 'off' && rows[0].version >= 190000) return
  await client.query(`SET standard_conforming_strings = ${setting}; SET escape_string_warning = off`)
  await fc.assert(
    fc.asyncProperty(
      text.filter(each => !each.includes('\0')),
      async value => {
        const result = await client.query(`SELECT ${quoteLiteral(value)}::text AS value`)
        expect(result.rows).toEqual([{ value }])
      },
    ),
    { numRuns: 200 },
  )
})

describe('what PostgreSQL would cut or not take', () => {
  test.each(['', 'a\0b', 'x'.repeat(64), 'ü'.repeat(32)])('%j is no identifier', name => {
    expect(() => quoteIdentifier(name)).toThrow(expect.objectContaining({ code: 'NAME_INVALID' }))
  })

  test('63 bytes are', () => {
    expect(quoteIdentifier('x'.repeat(63))).toBe(`"${'x'.repeat(63)}"`)
  })

  test('a literal with NUL is refused', () => {
    expect(() => quoteLiteral('a\0')).toThrow(expect.objectContaining({ code: 'NAME_INVALID' }))
  })
})
