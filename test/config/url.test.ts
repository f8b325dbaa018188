import { describe, expect, it } from 'vitest'
import { completeUrl, maskUrl, type UrlDefaults } from '../../src/config/url.ts'
import { parseAddress } from '../../src/postgres/address.ts'
import { Secret } from '../../src/secrets/secret.ts'
import { failure } from './support.ts'

const complete = (text: string, defaults?: UrlDefaults) =>
  completeUrl(text, { directory: '/app', database: 'tenantctl', defaults }).reveal()

describe('completeUrl', () => {
  it.each([
    ['postgres://', 'postgresql://postgres@localhost:5432/tenantctl'],
    ['postgresql://db', 'postgresql://postgres@db:5432/tenantctl'],
    ['postgresql://db/', 'postgresql://postgres@db:5432/tenantctl'],
    ['postgresql:///control', 'postgresql://postgres@localhost:5432/control'],
    ['postgresql://me@/control', 'postgresql://me@localhost:5432/control'],
    ['postgresql://me:pw@:5433/control', 'postgresql://me:pw@localhost:5433/control'],
    ['postgresql://me:p@ss@db:5433/x', 'postgresql://me:p%40ss@db:5433/x'],
    ['postgresql://me:p%2Fss@db/x', 'postgresql://me:p%2Fss@db:5432/x'],
    ['postgresql://me@[::1]:5433/x', 'postgresql://me@[::1]:5433/x'],
    ['postgresql://me@%2Frun%2Fpg:5433/x', 'postgresql://me@%2Frun%2Fpg:5433/x'],
    ['postgresql://me@/x?host=/run/pg', 'postgresql://me@%2Frun%2Fpg:5432/x'],
    ['postgresql://db?user=me&password=pw&port=1&dbname=x', 'postgresql://me:pw@db:1/x'],
    [
      'postgresql://db?sslmode=verify-full&sslrootcert=ca.pem',
      'postgresql://postgres@db:5432/tenantctl?sslmode=verify-full&sslrootcert=%2Fapp%2Fca.pem',
    ],
    ['postgresql://db?sslrootcert=system', 'postgresql://postgres@db:5432/tenantctl?sslrootcert=system'],
    ['postgresql://db?sslmode=no-verify', 'postgresql://postgres@db:5432/tenantctl?sslmode=require'],
    ['postgresql://db?ssl=true', 'postgresql://postgres@db:5432/tenantctl?sslmode=require'],
    ['postgresql://db?connect_timeout=3', 'postgresql://postgres@db:5432/tenantctl?connect_timeout=3'],
  ])('completes %s', (text, expected) => {
    expect(complete(text)).toBe(expected)
  })

  it.each([
    'mysql://root@db',
    'db.example.com',
    'host=db user=me',
    'postgresql://u:hunter2/x@db',
    'postgresql://u:hunter2?x@db',
    'postgresql://u:hunter2#x@db',
    'postgresql://u:12/hunter2@db',
    'postgresql://u:12?hunter2@db',
    'postgresql://u:12#hunter2@db',
    'postgresql://u:hunter2%@db',
    'postgresql://u:hunter2@one,two/x',
    'postgresql://u:hunter2@one:1,two:2/x',
    'postgresql://u:hunter2@db:0',
    'postgresql://u:hunter2@db:99999',
    'postgresql://u:hunter2@db/a%00b',
    'postgresql://u:hunter2@db?sslmode=maybe',
  ])('refuses %s without quoting the password', async text => {
    const error = await Promise.resolve()
      .then(() => complete(text))
      .catch((error: Error) => error)
    expect(error).toBeInstanceOf(Error)
    expect((error as Error).message).not.toContain('hunter2')
  })

  it('takes what it leaves out from the environment, and what it says from itself', () => {
    const asked: object[] = []
    const defaults: UrlDefaults = {
      host: '/run/pg',
      port: '6000',
      user: 'me',
      parameters: { sslmode: 'require', sslcert: 'me.pem' },
      password: address => {
        asked.push(address)
        return 'pw'
      },
    }
    expect(complete('postgresql:///', defaults)).toBe(
      'postgresql://me:pw@%2Frun%2Fpg:6000/tenantctl?sslmode=require&sslcert=%2Fapp%2Fme.pem',
    )
    expect(asked).toEqual([{ host: '/run/pg', port: '6000', database: 'tenantctl', user: 'me' }])
    expect(complete('postgresql://you:own@db:1/x?sslmode=disable', defaults)).toMatch(
      /^postgresql:\/\/you:own@db:1\/x\?sslmode=disable/,
    )
  })

  it("takes libpq's own certificates only where TLS is insisted on", () => {
    const files = {
      sslrootcert: '/home/me/root.crt',
      sslcert: '/home/me/postgresql.crt',
      sslkey: '/home/me/postgresql.key',
    }
    const parameters = (query: string) => new URL(complete(`postgresql://me@db/x${query}`, { files })).search
    expect(parameters('')).toBe('')
    expect(parameters('?sslmode=disable')).toBe('?sslmode=disable')
    for (const sslmode of ['require', 'verify-ca', 'verify-full']) {
      expect(Object.fromEntries(new URLSearchParams(parameters(`?sslmode=${sslmode}`)))).toEqual({ sslmode, ...files })
    }
    const written = 'sslmode=require&sslrootcert=%2Fca.crt&sslcert=%2Fme.crt&sslkey=%2Fme.key'
    expect(parameters(`?${written}`)).toBe(`?${written}`)
  })

  it.each([
    'postgresql://me%20too:p%40%2F%3F%23%25%3A@%2Frun%2Fpg:5433/my%20%2F%20db?sslmode=verify-ca',
    'postgresql://me:pw@[fe80::1]:5433/x?sslmode=disable',
  ])('writes what the connection reads: %s', text => {
    const url = new Secret(complete(text))
    const address = parseAddress(url)
    expect(address).toEqual(parseAddress(new Secret(text)))
    expect(completeUrl(url.reveal(), { directory: '/', database: 'x' }).reveal()).toBe(url.reveal())
    expect(address.password?.reveal()).toBe(parseAddress(new Secret(text)).password?.reveal())
  })
})

describe('maskUrl', () => {
  it.each([
    ['postgresql://me:p%40ss@db/x', 'postgresql://me:***@db:5432/x'],
    ['postgresql://me@db/x', 'postgresql://me@db:5432/x'],
    ['postgresql://me:@db/x', 'postgresql://me@db:5432/x'],
    ['postgresql://me@db/x?password=hunter2', 'postgresql://me:***@db:5432/x'],
  ])('%s', (text, expected) => {
    expect(maskUrl(new Secret(complete(text)))).toBe(expected)
  })

  it('is never asked of what was refused', async () => {
    await expect(failure(() => complete('x'))).rejects.toThrow('postgresql://')
  })
})
