import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { makeCertificates } from '../support/certificates.ts'
import { canDump, startDumpServer, toolsDirectory } from '../support/dump-server.ts'
import { useNamespace } from '../support/namespace.ts'
import type { TestServer } from '../support/servers.ts'

describe.skipIf(!canDump)('dumps over TLS', () => {
  const made = makeCertificates()
  const authority = made.authority('tenantctl tests')
  const certificate = authority.issue({ commonName: 'tests', names: 'DNS:localhost,IP:127.0.0.1' })
  const client = authority.issue({ commonName: 'tenantctl' })
  let server: TestServer
  beforeAll(async () => {
    server = await startDumpServer({
      settings: { ssl: 'on', ssl_ca_file: 'ca.crt' },
      // What a managed service does that wants a certificate of whoever comes, beside the password.
      hba: ['hostssl all all all scram-sha-256 clientcert=verify-ca'],
      files: { 'server.crt': certificate.cert, 'server.key': certificate.key, 'ca.crt': authority.cert },
    })
  })
  afterAll(async () => {
    await server?.remove()
    made.remove()
  })
  const namespace = useNamespace({ server: () => server })

  test('verify the server, and show our certificate, as every other connection does', async () => {
    const tools = join(namespace.directory, 'tools')
    const log = join(namespace.directory, 'environment')
    mkdirSync(tools)
    for (const tool of ['pg_dump', 'pg_restore']) {
      const script = `#!/bin/sh\nenv | grep ^PGSSL >> ${log}\nexec ${toolsDirectory}/${tool} "$@"\n`
      writeFileSync(join(tools, tool), script)
      chmodSync(join(tools, tool), 0o755)
    }
    const url = new URL(namespace.registryUrl)
    url.hostname = 'localhost'
    const parameters = { sslrootcert: authority.certFile, sslcert: client.certFile, sslkey: client.keyFile }
    for (const [name, value] of Object.entries({ sslmode: 'verify-full', ...parameters })) {
      url.searchParams.set(name, value)
    }
    const tenancy = namespace.track(
      createTenancy(namespace.config({ registry: { url: url.href }, tools: { directory: tools } })),
    )
    namespace.writeMigrations({ '001_notes.sql': "CREATE TABLE notes AS SELECT 'kept'::text AS body" })
    await tenancy.tenants.create({ name: 'acme' })
    const { tenants } = await tenancy.tenants.drop({ tenants: ['acme'] }, { backup: namespace.directory })
    const tenant = await tenancy.tenants.restore({ dump: tenants[0]?.backup ?? '', slug: 'acme' })
    expect(tenant).toMatchObject({ status: 'active', schemaVersion: '001_notes' })
    const seen = readFileSync(log, 'utf8')
    for (const line of [
      'PGSSLMODE=verify-full',
      ...Object.entries(parameters).map(([k, v]) => `PG${k.toUpperCase()}=${v}`),
    ]) {
      // Once by pg_dump, once by pg_restore.
      expect(seen.split('\n').filter(each => each === line)).toHaveLength(2)
    }
    const handedOut = new URL((await tenancy.tenants.url('acme')).reveal()).searchParams
    expect(Object.fromEntries(handedOut)).toEqual({ sslmode: 'verify-full', sslrootcert: authority.certFile })
  })
})
