import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { hostAndPort, parseAddress, type ServerAddress, sslModes, toUrl } from '../../src/postgres/address.ts'
import { Secret } from '../../src/secrets/secret.ts'

const parse = (url: string) => {
  const { password, ...address } = parseAddress(new Secret(url))
  return { ...address, password: password?.reveal() }
}

describe('a URL', () => {
  test.each<[url: string, expected: object]>([
    ['postgresql://', { host: 'localhost', port: 5432, user: 'postgres', password: undefined, database: 'tenantctl' }],
    ['postgres://ada@db.example.com/app', { host: 'db.example.com', user: 'ada', database: 'app', sslmode: 'prefer' }],
    ['postgresql://ada:p%40ss%3A%2F%25@h:6543/a%20b', { password: 'p@ss:/%', port: 6543, database: 'a b' }],
    ['postgresql://a:b@[::1]:5433/x', { host: '::1', port: 5433 }],
    ['postgresql://a:b@/x?host=/run/postgresql&port=5433', { host: '/run/postgresql', port: 5433, database: 'x' }],
    ['postgresql:///x?host=/tmp&user=u&password=p', { host: '/tmp', user: 'u', password: 'p', database: 'x' }],
    ['postgresql://h/x?user=a+b&password=c%20d%2B', { user: 'a+b', password: 'c d+' }],
    ['postgresql://h?dbname=y', { host: 'h', database: 'y' }],
    ['postgresql://h/x?sslmode=verify-full&sslrootcert=/ca.pem', { sslmode: 'verify-full', sslrootcert: '/ca.pem' }],
    ['postgresql://h/x?ssl=true', { sslmode: 'require' }],
    ['postgresql://h/x?connect_timeout=3', { connectTimeout: 3 }],
    ['postgresql://%C3%BCser@h/d%C3%A4ta', { user: 'üser', database: 'däta' }],
  ])('%s', (url, expected) => {
    expect(parse(url)).toMatchObject(expected)
  })

  test.each([
    'mysql://h/x',
    'not a url',
    'postgresql://a:p%ss-secret@h/x',
    'postgresql://a:p#ss-secret@h:x/y',
    'postgresql://a:secret@h:0/x',
    'postgresql://a:secret@h:70000/x',
    'postgresql://a:secret@h/x?sslmode=verify',
  ])('%s is refused, without the password in the message', url => {
    const error = (() => {
      try {
        return parse(url)
      } catch (thrown) {
        return thrown as Error
      }
    })()
    expect(error).toMatchObject({ code: 'CONFIG_INVALID' })
    expect(JSON.stringify(error)).not.toContain('secret')
  })
})

test('what is written is read back the same', () => {
  const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }).filter(each => !each.includes('\0'))
  const host = fc.oneof(
    fc.domain(),
    fc.ipV4(),
    fc.constantFrom('::1', 'fe80::1', '/run/postgresql', '/tmp/a b&c=d?', 'localhost'),
  )
  const address = fc.record({
    host,
    port: fc.integer({ min: 1, max: 65535 }),
    user: text,
    password: fc.option(text, { nil: undefined }).map(each => (each === undefined ? undefined : new Secret(each))),
    database: text,
    sslmode: fc.constantFrom(...sslModes),
    sslrootcert: fc.option(fc.constant('/a b/ca&1.pem'), { nil: undefined }),
  })
  fc.assert(
    fc.property(address, each => {
      const whole: ServerAddress = { ...each, sslcert: undefined, sslkey: undefined, connectTimeout: 10 }
      // Where TLS is not insisted on, a certificate is left out.
      if (each.sslmode === 'disable' || each.sslmode === 'prefer') whole.sslrootcert = undefined
      const again = parseAddress(toUrl(whole))
      expect({ ...again, password: again.password?.reveal() }).toEqual({ ...whole, password: whole.password?.reveal() })
    }),
  )
})

test('a space is written as libpq reads it', () => {
  const address = parseAddress(new Secret('postgresql://h/x?host=/a%20b&user=c'))
  expect(toUrl(address).reveal()).toBe('postgresql://c@:5432/x?host=%2Fa%20b')
})

test('host and port for people', () => {
  expect(hostAndPort({ host: '::1', port: 5432 })).toBe('[::1]:5432')
  expect(hostAndPort({ host: 'db', port: 5432 })).toBe('db:5432')
})
