import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { expect, test } from 'vitest'
import { Secret } from '../../src/secrets/secret.ts'
import { temporaryFolder } from '../support/folder.ts'
import { runCli, tenant } from './fake.ts'

const get = async () => tenant('acme')
const connectionInfo = async () => ({
  ...{ host: 'db', port: 5433, database: 'tenant_acme', username: 'tenant_acme' },
  ...{ password: new Secret('hunter2'), sslmode: 'require', sslrootcert: '/ca.crt' },
})

/** A psql of our own, first in the PATH: its output would go to the test's terminal, so it writes a file. */
function fakePsql(script: string): { folder: string; env: Record<string, string> } {
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'psql'), `#!/bin/sh\n${script}\n`)
  chmodSync(join(folder, 'psql'), 0o755)
  return {
    folder,
    env: { PATH: `${folder}${delimiter}${process.env.PATH}`, PGSERVICE: 'other', PGHOSTADDR: '10.0.0.1' },
  }
}

test('gets the login through the environment, passes arguments and exit code on', async () => {
  const { folder, env } = fakePsql(
    'echo "$PGHOST $PGPORT $PGDATABASE $PGUSER $PGPASSWORD $PGSSLMODE $PGSSLROOTCERT [$PGSERVICE$PGHOSTADDR] $*" > seen; exit 3',
  )
  const args = ['psql', 'acme', '--', '-c', 'select 1', '--json']
  const { stdout, stderr, exitCode } = await runCli(args, {
    tenancy: { tenants: { get, connectionInfo } },
    env,
    cwd: folder,
  })
  expect({ stdout, stderr, exitCode }).toEqual({ stdout: '', stderr: '', exitCode: 3 })
  expect(readFileSync(join(folder, 'seen'), 'utf8')).toBe(
    'db 5433 tenant_acme tenant_acme hunter2 require /ca.crt [] -c select 1 --json\n',
  )
})

test('ended by a signal is 128 + its number', async () => {
  const { folder, env } = fakePsql('kill -TERM $$')
  const { exitCode } = await runCli(['psql', 'acme'], {
    tenancy: { tenants: { get, connectionInfo } },
    env,
    cwd: folder,
  })
  expect(exitCode).toBe(143)
})

test('that is not installed is told', async () => {
  const folder = temporaryFolder()
  const options = { tenancy: { tenants: { get, connectionInfo } }, env: { PATH: folder }, cwd: folder }
  const { stderr, exitCode } = await runCli(['psql', 'acme', '--json'], options)
  expect(JSON.parse(stderr).error.code).toBe('TOOL_MISSING')
  expect(exitCode).toBe(2)
})

test('a suspended tenant is told instead of a login that fails', async () => {
  const suspended = { get: async () => tenant('acme', { status: 'suspended' }), connectionInfo }
  const { stderr, exitCode } = await runCli(['psql', 'acme'], { tenancy: { tenants: suspended } })
  expect(exitCode).toBe(4)
  expect(stderr).toContain('tenantctl resume acme')
})
