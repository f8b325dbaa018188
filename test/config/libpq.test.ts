import { describe, expect, it } from 'vitest'
import { findPassword, libpqDefaults } from '../../src/config/libpq.ts'
import { folder } from './support.ts'

const address = { host: 'db', port: '5432', database: 'tenantctl', user: 'me' }

describe('the password file', () => {
  it.each([
    ['db:5432:tenantctl:me:pw', 'pw'],
    ['*:*:*:me:pw', 'pw'],
    ['# db:5432:tenantctl:me:no\n\nother:*:*:*:no\r\ndb:*:*:*:first\r\ndb:*:*:*:second', 'first'],
    [String.raw`db:5432:tenantctl:me:p\:w\\x`, String.raw`p:w\x`],
    ['db:5432:tenantctl:me:pw:trailing', 'pw'],
    ['db:5433:tenantctl:me:pw', undefined],
    ['db:5432:tenantctl:me:', undefined],
    ['nonsense', undefined],
    ['', undefined],
  ])('%j gives %j', (text, password) => {
    expect(findPassword(text, address)).toBe(password)
  })

  it('calls a socket localhost', () => {
    expect(findPassword('localhost:*:*:*:pw', { ...address, host: '/run/pg' })).toBe('pw')
  })

  it('is read from HOME or PGPASSFILE when only its owner may read it', () => {
    const home = folder({ '.pgpass': 'db:*:*:me:home', other: 'db:*:*:me:other' })
    const password = (env: Record<string, string>) => libpqDefaults(env).password?.(address)
    expect(password({ HOME: home })).toBe('home')
    expect(password({ HOME: home, PGPASSFILE: `${home}/other` })).toBe('other')
    expect(password({ HOME: home, PGPASSWORD: 'own' })).toBe('own')
    expect(password({ HOME: folder({ '.pgpass': 'db:*:*:me:home' }, 0o640) })).toBeUndefined()
    expect(password({ HOME: folder() })).toBeUndefined()
    expect(password({})).toBeUndefined()
  })

  it('may speak of the maintenance database', () => {
    const home = folder({ '.pgpass': 'db:5432:postgres:me:pw' })
    expect(libpqDefaults({ HOME: home }).password?.(address)).toBe('pw')
  })
})

it('finds the certificates that lie in ~/.postgresql', () => {
  const home = folder({ '.postgresql/root.crt': '', '.postgresql/postgresql.crt': '' })
  expect(libpqDefaults({ HOME: home }).files).toEqual({
    sslrootcert: `${home}/.postgresql/root.crt`,
    sslcert: `${home}/.postgresql/postgresql.crt`,
    sslkey: undefined,
  })
  expect(libpqDefaults({}).files).toEqual({})
})
