import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { TenancyError } from '../../src/errors.ts'
import { Secret } from '../../src/secrets/secret.ts'
import { temporaryFolder } from '../support/folder.ts'
import { runCli } from './fake.ts'

const setup = { ini: '[databases]\n', sql: null, sqlDatabase: null, userlist: new Secret('"tenant_acme" "hunter2"\n') }
const tenancy = { pgbouncer: async () => setup }

test.each([[[] as string[]], [['--json']]])(
  'passwords go into a file for its owner alone, and nowhere else (%j)',
  async flags => {
    const cwd = temporaryFolder()
    const { stdout, stderr, exitCode } = await runCli(['pgbouncer', 'config', '--userlist', 'users', ...flags], {
      tenancy,
      cwd,
    })
    expect(exitCode).toBe(0)
    expect(statSync(join(cwd, 'users')).mode & 0o777).toBe(0o600)
    expect(readFileSync(join(cwd, 'users'), 'utf8')).toBe(setup.userlist.reveal())
    expect(stdout + stderr).not.toContain('hunter2')
  },
)

test('a file that is there, which others may read, is not written to', async () => {
  const cwd = temporaryFolder()
  writeFileSync(join(cwd, 'users'), 'mine', { mode: 0o644 })
  const { stderr, exitCode } = await runCli(['pgbouncer', 'config', '--userlist', 'users', '--json'], {
    tenancy,
    library: { TenancyError },
    cwd,
  })
  expect(JSON.parse(stderr).error.code).toBe('FILE_EXISTS')
  expect(exitCode).toBe(4)
  expect(readFileSync(join(cwd, 'users'), 'utf8')).toBe('mine')
})
