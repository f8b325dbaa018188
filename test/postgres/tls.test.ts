import { chmodSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseAddress, type ServerAddress, toUrl } from '../../src/postgres/address.ts'
import { connect, withClient } from '../../src/postgres/connect.ts'
import { query } from '../../src/postgres/query.ts'
import { RegistryConnection } from '../../src/registry/connection.ts'
import { Secret } from '../../src/secrets/secret.ts'
import { type Certificate, makeCertificates } from '../support/certificates.ts'
import { sql } from '../support/client.ts'
import { startServer, type TestServer } from '../support/servers.ts'

const made = makeCertificates()
const authority = made.authority('tenantctl tests')
const stranger = made.authority('somebody else')

/** Servers that differ in their certificate alone, over one cluster: it is read anew at a reload. */
const certificates = {
  right: authority.issue({ commonName: 'tests', names: 'DNS:localhost,IP:127.0.0.1' }),
  otherHost: authority.issue({ commonName: 'tests', names: 'DNS:db.example.com,IP:10.0.0.1' }),
  commonNameOnly: authority.issue({ commonName: 'localhost' }),
  expired: authority.issue({ commonName: 'tests', names: 'DNS:localhost,IP:127.0.0.1', days: -1 }),
  otherAuthority: stranger.issue({ commonName: 'tests', names: 'DNS:localhost,IP:127.0.0.1' }),
  selfSigned: made.authority('localhost'),
}
const client = authority.issue({ commonName: 'certified' })

let tls: TestServer
let plain: TestServer

beforeAll(async () => {
  const files = {
    'server.crt': certificates.right.cert,
    'server.key': certificates.right.key,
    'ca.crt': authority.cert,
  }
  const hba = [
    'hostssl all certified all cert',
    'hostssl all presents all scram-sha-256 clientcert=verify-ca',
    'hostnossl all unencrypted all scram-sha-256',
    'hostssl all unencrypted all reject',
    'host all clear all password',
  ]
  ;[tls, plain] = await Promise.all([
    startServer({ settings: { ssl: 'on', ssl_ca_file: 'ca.crt', log_connections: 'on' }, hba, files }),
    startServer(),
  ])
  await sql(
    tls.superUrl,
    `CREATE ROLE certified LOGIN; CREATE ROLE presents LOGIN PASSWORD 'presents';
     CREATE ROLE unencrypted LOGIN PASSWORD 'unencrypted'; CREATE ROLE clear LOGIN PASSWORD 'clear'`,
  )
})

afterAll(async () => {
  await Promise.all([tls?.remove(), plain?.remove()])
  made.remove()
})

async function present(certificate: Certificate): Promise<void> {
  writeFileSync(join(tls.dataDirectory, 'server.crt'), certificate.cert)
  writeFileSync(join(tls.dataDirectory, 'server.key'), certificate.key)
  process.kill(tls.pid, 'SIGHUP')
  // A reload takes a moment; the certificate that is shown tells when it is over.
  for (;;) {
    const shown = await shownCertificate()
    if (shown?.includes(Buffer.from(derOf(certificate)).subarray(-32).toString('hex'))) return
  }
}

function derOf({ cert }: Certificate): Buffer {
  return Buffer.from(cert.replace(/-----[^-]+-----|\s/g, ''), 'base64')
}

async function shownCertificate(): Promise<string | undefined> {
  const session = await connect(address({ sslmode: 'require' }))
  const { stream } = (session as unknown as { connection: { stream: import('node:tls').TLSSocket } }).connection
  const raw = stream.getPeerCertificate().raw
  await session.end()
  return raw?.toString('hex')
}

function address(parameters: Record<string, string>, server: { superUrl: string } = tls): ServerAddress {
  const url = new URL(server.superUrl)
  if (parameters.host) url.hostname = parameters.host
  if (parameters.user) url.username = parameters.user
  if (parameters.user) url.password = parameters.user
  for (const [name, value] of Object.entries(parameters)) {
    if (name !== 'host' && name !== 'user') url.searchParams.set(name, value)
  }
  return parseAddress(new Secret(url.href.replaceAll('+', '%20')))
}

/** Whether the session that comes about is encrypted, or the code of the refusal. */
async function attempt(to: ServerAddress): Promise<string> {
  try {
    return await withClient(to, {}, async session => {
      const [row] = await query<{ ssl: boolean }>(
        session,
        'asking for TLS',
        'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
      )
      return row?.ssl ? 'encrypted' : 'plain'
    })
  } catch (error) {
    return (error as { code: string }).code
  }
}

const root = authority.certFile
const modes = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full']

describe('sslmode', () => {
  test('each does what it does for libpq', async () => {
    const outcomes: Record<string, string[]> = {}
    for (const [name, certificate] of Object.entries(certificates)) {
      await present(certificate)
      outcomes[name] = []
      for (const sslmode of modes) {
        const withRoot = sslmode.startsWith('verify-') ? { sslrootcert: root } : ({} as Record<string, string>)
        outcomes[name].push(await attempt(address({ sslmode, host: 'localhost', ...withRoot })))
      }
      outcomes[name].push(await attempt(address({ sslmode: 'require', sslrootcert: root })))
    }
    const refused = 'TLS_FAILED'
    expect(outcomes).toEqual({
      // disable, prefer, require, verify-ca, verify-full, require with sslrootcert
      right: ['plain', 'encrypted', 'encrypted', 'encrypted', 'encrypted', 'encrypted'],
      otherHost: ['plain', 'encrypted', 'encrypted', 'encrypted', refused, 'encrypted'],
      commonNameOnly: ['plain', 'encrypted', 'encrypted', 'encrypted', 'encrypted', 'encrypted'],
      expired: ['plain', 'encrypted', 'encrypted', refused, refused, refused],
      otherAuthority: ['plain', 'encrypted', 'encrypted', refused, refused, refused],
      selfSigned: ['plain', 'encrypted', 'encrypted', refused, refused, refused],
    })
    await present(certificates.right)
  })

  test('verify-full knows addresses in certificates', async () => {
    expect(await attempt(address({ sslmode: 'verify-full', sslrootcert: root, host: '127.0.0.1' }))).toBe('encrypted')
    await present(certificates.otherHost)
    expect(await attempt(address({ sslmode: 'verify-full', sslrootcert: root, host: '127.0.0.1' }))).toBe('TLS_FAILED')
    await present(certificates.commonNameOnly)
    expect(await attempt(address({ sslmode: 'verify-full', sslrootcert: root, host: '127.0.0.1' }))).toBe('TLS_FAILED')
    await present(certificates.right)
  })

  test("verify-full without a file asks the system's authorities, which do not know ours", async () => {
    expect(await attempt(address({ sslmode: 'verify-full' }))).toBe('TLS_FAILED')
    expect(await attempt(address({ sslmode: 'verify-full', sslrootcert: 'system' }))).toBe('TLS_FAILED')
    expect(address({ sslrootcert: 'system' }).sslmode).toBe('verify-full')
  })

  test('the error tells what is wrong, and what to look at', async () => {
    const error = await connect(address({ sslmode: 'verify-full' })).catch((error: unknown) => error)
    expect(error).toMatchObject({ code: 'TLS_FAILED', hint: expect.stringContaining('sslrootcert') })
    expect((error as Error).message).toContain('certificate')
  })

  test('a server without TLS', async () => {
    const outcomes = []
    for (const sslmode of modes) outcomes.push(await attempt(address({ sslmode, sslrootcert: root }, plain)))
    expect(outcomes).toEqual(['plain', 'plain', 'TLS_FAILED', 'TLS_FAILED', 'TLS_FAILED'])
  })

  test('prefer also goes without TLS where pg_hba.conf wants that', async () => {
    expect(await attempt(address({ user: 'unencrypted' }))).toBe('plain')
    expect(await attempt(address({ user: 'unencrypted', sslmode: 'require' }))).toBe('AUTHENTICATION_FAILED')
  })

  test.each([
    [{ sslmode: 'verify-ca' }, 'CONFIG_INVALID'],
    [{ sslmode: 'require', sslrootcert: 'system' }, 'CONFIG_INVALID'],
    [{ sslmode: 'require', sslrootcert: '/nowhere/ca.crt' }, 'TLS_FAILED'],
    [{ sslmode: 'require', sslrootcert: '/dev/null' }, 'TLS_FAILED'],
    [{ sslmode: 'require', sslcert: client.certFile }, 'CONFIG_INVALID'],
    [{ sslmode: 'require', sslcert: client.certFile, sslkey: certificates.right.keyFile }, 'TLS_FAILED'],
  ])('%j is refused before anything is sent', async (parameters, code) => {
    expect(await attempt(address(parameters as Record<string, string>))).toBe(code)
  })
})

describe('client certificates', () => {
  const login = { sslmode: 'verify-full', sslrootcert: root, sslcert: client.certFile, sslkey: client.keyFile }

  test('log in by themselves, and beside a password', async () => {
    expect(await attempt(address({ ...login, user: 'certified' }))).toBe('encrypted')
    expect(await attempt(address({ ...login, user: 'presents' }))).toBe('encrypted')
  })

  test('are wanted by the server, and must be of the right name', async () => {
    const { sslmode, sslrootcert } = login
    expect(await attempt(address({ sslmode, sslrootcert, user: 'presents' }))).toBe('AUTHENTICATION_FAILED')
    expect(await attempt(address({ sslmode, sslrootcert, user: 'certified' }))).toBe('AUTHENTICATION_FAILED')
    const other = authority.issue({ commonName: 'other' })
    const forged = { ...login, sslcert: other.certFile, sslkey: other.keyFile, user: 'certified' }
    expect(await attempt(address(forged))).toBe('AUTHENTICATION_FAILED')
  })

  test('whose key others may read are not used', async () => {
    const { certFile, keyFile } = authority.issue({ commonName: 'certified' })
    chmodSync(keyFile, 0o644)
    const error = await connect(address({ ...login, sslcert: certFile, sslkey: keyFile, user: 'certified' })).catch(
      (error: unknown) => error,
    )
    expect(error).toMatchObject({ code: 'TLS_FAILED', hint: `chmod 600 ${keyFile}` })
  })
})

describe("the registry's pool", () => {
  const encrypted = async (to: ServerAddress) => {
    const registry = new RegistryConnection(to)
    try {
      const ask = () =>
        registry.query<{ ssl: boolean }>('test', 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')
      const [row] = await ask()
      // The next connection, while the first one is at work.
      const [[first], [second]] = await Promise.all([ask(), ask()])
      expect([first?.ssl, second?.ssl]).toEqual([row?.ssl, row?.ssl])
      return row?.ssl
    } finally {
      await registry.close()
    }
  }

  test('is encrypted, or refused; what prefer means is decided once', async () => {
    expect(await encrypted(address({ sslmode: 'verify-full', sslrootcert: root }))).toBe(true)
    expect(await encrypted(address({}))).toBe(true)
    expect(await encrypted(address({}, plain))).toBe(false)
    expect(await encrypted(address({ user: 'unencrypted' }))).toBe(false)
    await expect(encrypted(address({ sslmode: 'verify-full' }))).rejects.toMatchObject({ code: 'TLS_FAILED' })
  })

  test('uses the connection by which it has found out what prefer means', async () => {
    const logins = async () => (await tls.log()).match(/connection authorized/g)?.length ?? 0
    const before = await logins()
    const registry = new RegistryConnection(address({}))
    await registry.query('test', 'SELECT 1')
    await registry.close()
    expect((await logins()) - before).toBe(1)
  })
})

test('a password goes in clear only to a server that was verified', async () => {
  const outcomes = []
  for (const sslmode of modes) {
    const withRoot = sslmode.startsWith('verify-') ? { sslrootcert: root } : ({} as Record<string, string>)
    outcomes.push(await attempt(address({ sslmode, user: 'clear', ...withRoot })))
  }
  const refused = 'AUTHENTICATION_FAILED'
  expect(outcomes).toEqual([refused, refused, refused, 'encrypted', 'encrypted'])
})

test('a URL carries the parameters on', () => {
  const parameters = { sslmode: 'verify-full', sslrootcert: '/a b/ca.crt', sslcert: '/c.crt', sslkey: '/c.key' }
  expect(parseAddress(toUrl(address(parameters)))).toMatchObject(parameters)
  expect(toUrl(address({ sslrootcert: '/ca.crt' })).reveal()).not.toContain('ssl')
})

describe('a proxy that strips TLS', () => {
  let proxy: Server
  let port: number
  const sent: Buffer[] = []

  beforeAll(async () => {
    proxy = createServer(socket => {
      // "No TLS here", whatever the server behind it would have said.
      socket.once('data', () => socket.write('N'))
      socket.on('data', data => sent.push(data)).on('error', () => undefined)
    })
    await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve))
    port = (proxy.address() as { port: number }).port
  })
  afterAll(() => void proxy.close())

  test.each(['require', 'verify-ca', 'verify-full'])(
    '%s says no, and has sent nothing but the question',
    async mode => {
      sent.length = 0
      expect(await attempt({ ...address({ sslmode: mode, sslrootcert: root }), port })).toBe('TLS_FAILED')
      // SSLRequest (manual, 55.7): eight bytes, with neither a user's name nor a password in it.
      expect(Buffer.concat(sent).toString('hex')).toBe('0000000804d2162f')
    },
  )
})

test('verify-full has said nothing to a server whose certificate it refuses', async () => {
  let certificate: Certificate = certificates.right
  let heard = Buffer.alloc(0)
  const listener = createServer(socket => {
    socket
      .on('error', () => undefined)
      .once('data', () => {
        socket.write('S')
        const secure = new TLSSocket(socket, { isServer: true, key: certificate.key, cert: certificate.cert })
        secure
          .on('error', () => undefined)
          .on('data', data => {
            heard = Buffer.concat([heard, data])
            secure.destroy()
          })
      })
  })
  await new Promise<void>(resolve => listener.listen(0, '127.0.0.1', resolve))
  const { port } = listener.address() as { port: number }
  const heardWith = async (shown: Certificate) => {
    certificate = shown
    heard = Buffer.alloc(0)
    const code = await attempt({ ...address({ sslmode: 'verify-full', sslrootcert: root, host: 'localhost' }), port })
    return [code, heard.toString('latin1').includes('postgres')]
  }
  const { right, otherHost, expired, otherAuthority, selfSigned } = certificates
  expect(await heardWith(right)).toEqual(['CONNECTION_FAILED', true])
  for (const shown of [otherHost, expired, otherAuthority, selfSigned]) {
    expect(await heardWith(shown)).toEqual(['TLS_FAILED', false])
    expect(heard).toHaveLength(0)
  }
  listener.close()
})
