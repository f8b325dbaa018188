import { readdirSync, readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'
import { startBin } from '../support/process.ts'

const namespace = useNamespace()

test.skipIf(process.platform !== 'linux')(
  'no password or key is in any process’s arguments, output, journal or inspection',
  async () => {
    namespace.writeMigrations({ '001_t.sql': 'CREATE TABLE t (a int)' })
    namespace.writeConfig()
    const seen = new Set<string>()
    const watching = setInterval(() => {
      for (const pid of readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
        try {
          seen.add(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))
        } catch {
          // It has ended.
        }
      }
    }, 5)
    let printed = ''
    for (const args of [
      ['create', 'Acme', '-v'],
      ['create', 'Acme', '-v', '--json'],
      ['list', '--json'],
      ['show', 'acme', '-v'],
      ['rotate-password', 'acme', '--yes', '-v'],
      ['operations', 'acme', '--json'],
      ['config'],
      ['doctor', '-v'],
    ]) {
      const { stdout, stderr } = await startBin(args, { cwd: namespace.directory }).done
      printed += stdout + stderr
    }
    clearInterval(watching)

    const tenancy = namespace.track(createTenancy(namespace.config()))
    const { password } = await tenancy.tenants.connectionInfo('acme')
    const adminPassword = decodeURIComponent(new URL(namespace.adminUrl).password)
    const journal = JSON.stringify(
      await namespace.sql(
        'SELECT o.*, s.* FROM tenantctl.operations o LEFT JOIN tenantctl.operation_steps s ON s.operation_id = o.id',
        [],
        new URL(namespace.registryUrl).pathname.slice(1),
      ),
    )
    const inspected = inspect(tenancy, { depth: 10, showHidden: true }) + inspect(await tenancy.tenants.get('acme'))
    const failure = await createTenancy(
      namespace.config({ registry: { url: namespace.adminUrl.replace(/:\d+\//, ':1/') } }),
    )
      .tenants.list()
      .catch(error => inspect(error, { depth: 10 }) + JSON.stringify(error))
    const everything = { arguments: [...seen].join('\n'), printed, journal, inspected, failure: String(failure) }
    for (const secret of [password.reveal(), adminPassword, namespace.encryptionKey].filter(each => each.length > 7)) {
      for (const [where, text] of Object.entries(everything))
        expect([where, text.includes(secret)]).toEqual([where, false])
    }
    expect(everything.arguments).toContain('rotate-password')
    expect(printed).not.toContain('SCRAM-SHA-256$')
    await tenancy.close()
  },
  60_000,
)
