import { beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'
import { runCli } from './fake.ts'

const namespace = useNamespace()
let tenancy: Tenancy

beforeAll(async () => {
  namespace.writeSeeds({})
  namespace.writeMigrations({})
  tenancy = namespace.track(createTenancy(namespace.config()))
  await tenancy.tenants.create({ name: 'Acme' })
})

/** The command line on the library itself, whose connections outlive the command. */
const run = (args: string[]) => runCli(args, { library: { createTenancy: () => Object.create(tenancy, noClose) } })
const noClose = { close: { value: async () => undefined } }

describe('a server that does not exist is no empty selection', () => {
  test.each([['list'], ['status'], ['migrate'], ['migrate --dry-run'], ['status --summary'], ['drop -y'], ['seed']])(
    '%s',
    async command => {
      const { stdout, stderr, exitCode } = await run([...command.split(' '), '--server', 'eu1'])
      expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 3 })
      expect(stderr).toBe('error: no server "eu1" is configured\n  hint: configured: default\n')
    },
  )
})

test('a folder that lacks what is applied is no up-to-date fleet', async () => {
  namespace.writeMigrations({ '001_a.sql': 'CREATE TABLE a ()', '002_b.sql': 'CREATE TABLE b ()' })
  const migrated = createTenancy(namespace.config())
  await migrated.migrations.run({ tenants: ['acme'] })
  await migrated.close()
  namespace.writeMigrations({ '001_a.sql': 'CREATE TABLE a ()', '003_c.sql': 'CREATE TABLE c ()' })
  tenancy = namespace.track(createTenancy(namespace.config()))

  const status = await run(['status', 'acme', '--json'])
  expect(JSON.parse(status.stdout).tenants).toMatchObject([
    { status: 'checked', pending: ['003_c'], missing: ['002_b'] },
  ])
  const text = await run(['status', '--all'])
  expect(text.stdout).toContain('acme    002_b         2  003_c; 1 applied that the folder lacks\n')
  expect(text.stdout).toContain('1 tenant, 1 behind, 1 ahead of the folder')
  expect((await run(['show', 'acme'])).stdout).toContain('Applied, and not in the folder (1 migration)\n  002_b\n')
})

test('a filter that nothing matches is told apart from a registry without tenants', async () => {
  const { stdout, stderr, exitCode } = await run(['list', '--label', 'plan=none'])
  expect({ stdout, stderr, exitCode }).toEqual({ stdout: '', stderr: 'hint: no tenant matches\n', exitCode: 0 })
})

test('operations of a tenant that never was are a 3; those of a dropped one are still there', async () => {
  const { stderr, exitCode } = await run(['operations', 'acm'])
  expect(exitCode).toBe(3)
  expect(stderr).toContain('there is no tenant "acm"\n  hint: did you mean acme?')

  await tenancy.tenants.create({ name: 'Gone' })
  await tenancy.tenants.drop({ tenants: ['gone'] })
  const kept = await run(['operations', 'gone', '--json'])
  expect(JSON.parse(kept.stdout).map((operation: { kind: string }) => operation.kind)).toEqual(['drop', 'create'])
})
