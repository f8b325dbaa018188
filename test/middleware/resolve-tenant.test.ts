import { describe, expect, test } from 'vitest'
import { hostOfHeader, parseDomain } from '../../src/hostname.ts'
import { type ResolveOptions, tenantResolver } from '../../src/middleware/resolve-tenant.ts'
import type { RequestLike } from '../../src/middleware/tenancy.ts'

const tenancy = {
  run: async <T>(_slug: string, work: () => T | Promise<T>) => work(),
  domains: { resolve: async (host: string) => (host === 'app.acme.com' ? 'acme' : undefined) },
}

function resolve(options: ResolveOptions, request: Partial<RequestLike>): Promise<string | undefined> {
  return tenantResolver(tenancy, options)({ url: '/', headers: {}, ...request })
}

const host = (name: string, more: ResolveOptions = {}) =>
  resolve({ baseDomain: 'example.com', ...more }, { headers: { host: name } })

describe('a subdomain', () => {
  test.each([
    ['acme.example.com', 'acme'],
    ['acme.example.com:8080', 'acme'],
    ['ACME.Example.COM', 'acme'],
    ['acme.example.com.', 'acme'],
    ['acme.example.com.:443', 'acme'],
    ['acme-2.example.com', 'acme-2'],
  ])('%s is %s', async (name, slug) => expect(await host(name)).toBe(slug))

  test.each([
    'example.com',
    'example.com.',
    'a.b.example.com',
    'www.acme.example.com',
    'acme.example.com.evil.org',
    'acmeexample.com',
    'acme.example.org',
    '.example.com',
    'acme..example.com',
    'acme.example.com..',
    '-acme.example.com',
    'acme-.example.com',
    'acme_x.example.com',
    'xn--cme-5na.example.com',
    'ácme.example.com',
    'acme%2eexample.com',
    'acme.example.com/',
    'acme.example.com:80:80',
    'acme.example.com:port',
    'acme.example.com, globex.example.com',
    'acme.example.com globex',
    'user@acme.example.com',
    'acme.example.com\\@evil.org',
    '[::1]:8080',
    '127.0.0.1',
    '',
    `${'a'.repeat(64)}.example.com`,
    `${'a.'.repeat(200)}example.com`,
    'a197a000-0000-7000-8000-000000000001.example.com',
  ])('%j is nobody', async name => expect(await host(name)).toBeUndefined())

  test('of one of several domains', async () => {
    const baseDomain = ['example.com', 'example.co.uk', 'localhost']
    expect(await host('acme.example.co.uk', { baseDomain })).toBe('acme')
    expect(await host('acme.localhost:3000', { baseDomain })).toBe('acme')
    expect(await host('acme.co.uk', { baseDomain })).toBeUndefined()
  })
})

describe('a header that somebody has made up', () => {
  const forged = { host: 'acme.example.com', 'x-forwarded-host': 'globex.example.com' }

  test('is not believed', async () => {
    expect(await resolve({ baseDomain: 'example.com' }, { headers: forged })).toBe('acme')
    const others = { forwarded: 'host=globex.example.com', 'x-host': 'globex.example.com', 'x-original-host': 'globex' }
    expect(await resolve({ baseDomain: 'example.com' }, { headers: { ...forged, ...others } })).toBe('acme')
  })

  test('is believed when it was said to be the proxy’s, and then the last value', async () => {
    const options = { baseDomain: 'example.com', trustForwardedHost: true }
    expect(await resolve(options, { headers: forged })).toBe('globex')
    const list = { ...forged, 'x-forwarded-host': 'initech.example.com, globex.example.com' }
    expect(await resolve(options, { headers: list })).toBe('globex')
    expect(await resolve(options, { headers: { host: 'acme.example.com' } })).toBe('acme')
  })

  test('twice, so that a proxy may have read the other one, is nobody', async () => {
    const rawHeaders = ['Host', 'acme.example.com', 'Accept', '*/*', 'hOST', 'globex.example.com']
    const request = { headers: { host: 'acme.example.com' }, rawHeaders }
    expect(await resolve({ baseDomain: 'example.com' }, request)).toBeUndefined()
  })
})

describe('a custom domain', () => {
  test('is looked up, whatever its case and port', async () => {
    const options = { baseDomain: 'example.com', customDomains: true }
    expect(await host('APP.Acme.com:443', options)).toBe('acme')
    expect(await host('app.globex.com', options)).toBeUndefined()
    expect(await host('globex.example.com', options)).toBe('globex')
  })

  test('is not looked up unless told', async () => expect(await host('app.acme.com')).toBeUndefined())
})

describe('other ways', () => {
  test('a header', async () => {
    const header = 'X-Tenant'
    expect(await resolve({ header }, { headers: { 'x-tenant': 'acme' } })).toBe('acme')
    for (const value of ['acme, globex', 'Acme!', '', '../acme']) {
      expect(await resolve({ header }, { headers: { 'x-tenant': value } })).toBeUndefined()
    }
    expect(await resolve({ header }, { headers: { 'x-tenant': ['acme', 'globex'] } })).toBeUndefined()
  })

  test.each([
    ['/t', '/t/acme/issues?x=/t/globex', 'acme'],
    ['t/', '/t/acme', 'acme'],
    ['/t', '/t/acme?x', 'acme'],
    ['/', '/acme/issues', 'acme'],
    ['/t', '/acme', undefined],
    ['/t', '/tacme', undefined],
    ['/t', '/t//acme', undefined],
    ['/t', '/t/%61cme', undefined],
    ['/t', '/t/..', undefined],
  ])('a path: prefix %s of %s', async (pathPrefix, url, slug) => {
    expect(await resolve({ pathPrefix }, { url })).toBe(slug)
  })

  test('a function of one’s own, before the others', async () => {
    const options = { resolve: () => 'globex', header: 'x-tenant' }
    expect(await resolve(options, { headers: { 'x-tenant': 'acme' } })).toBe('globex')
  })

  test('none is a mistake', () => {
    expect(() => tenantResolver(tenancy, {})).toThrow('was not told')
    expect(() => tenantResolver(tenancy, { baseDomain: 'https://example.com' })).toThrow('is not a domain')
    expect(() => tenantResolver(tenancy, { pathPrefix: '/t?x' })).toThrow('pathPrefix')
  })
})

test.each([
  ['app.acme.com', 'app.acme.com'],
  [' App.ACME.com. ', 'app.acme.com'],
  ['bücher.example', 'xn--bcher-kva.example'],
  ['例え.テスト', 'xn--r8jz45g.xn--zckzah'],
])('parseDomain(%j)', (written, domain) => expect(parseDomain(written)).toBe(domain))

test.each([
  ...['', 'acme', 'https://app.acme.com', 'app.acme.com/x', 'app.acme.com:80', 'a b.com', '*.acme.com', '1.2.3.4'],
  ...['a..b.com', 'user@acme.com', 'app.acme.com%00', '.com', `${'a'.repeat(64)}.com`, `${'a.'.repeat(130)}com`],
])('parseDomain(%j) is refused', written => {
  expect(() => parseDomain(written)).toThrow(expect.objectContaining({ code: 'DOMAIN_INVALID' }))
})

test('no host at all is nobody', () => expect(hostOfHeader(undefined)).toBeUndefined())
