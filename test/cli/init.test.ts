import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeEach, describe, expect, test } from 'vitest'
import { configFileText } from '../../src/cli/init/config-template.ts'
import { planStarterFiles } from '../../src/cli/init/starter-files.ts'
import { TenancyError } from '../../src/errors.ts'
import { runCli } from './fake.ts'

let folder: string
let installed: number

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tenantctl-init-'))
  installed = 0
  return () => rmSync(folder, { recursive: true })
})

function init(args: string[], registry: unknown = 'embedded', more: object[] = []) {
  return runCli(['init', ...args], {
    cwd: folder,
    tenancy: { registry: { install: async () => void installed++ } },
    library: {
      effectiveSettings: async () => ({
        settings: [{ key: 'registry', value: registry, source: 'x' }, ...more],
        file: null,
      }),
    },
  })
}

const content = () => readFileSync(join(folder, 'tenantctl.config.ts'), 'utf8')

test('writes configuration and examples, and installs the registry', async () => {
  const { stdout, exitCode } = await init(['--embedded', '--json'])
  expect(exitCode).toBe(0)
  expect(installed).toBe(1)
  const result = JSON.parse(stdout)
  expect(result).toMatchObject({ registry: 'embedded', overwritten: [], kept: [] })
  expect(result.created).toContain('tenantctl.config.ts')
  expect(content()).toContain("import { defineConfig } from 'tenantctl'")
  expect(content()).toContain("registry: 'embedded'")
  const starters = readdirSync(fileURLToPath(new URL('../../migrations/tenant/', import.meta.url)))
  expect(readdirSync(join(folder, 'migrations/tenant'))).toEqual(starters)
  expect(readdirSync(join(folder, 'seeders/tenant')).length).toBeGreaterThan(0)
})

test('asks for a key only where there is none: a second one could not read what the first has encrypted', async () => {
  const url = 'postgresql://admin:***@h/x'
  expect((await init([], url, [{ key: 'encryption.keys', value: [] }])).stderr).toContain('tenantctl key generate')
  const keyed = await init(['--force'], url, [{ key: 'encryption.keys', value: ['***'] }])
  expect(keyed.stderr).toBe('hint: next: `tenantctl create acme`\n')
  const served = await init(['--force', '--json'], url, [{ key: 'encryption.provider', value: 'kms' }])
  expect(JSON.parse(served.stdout)).toMatchObject({ registry: 'url', encryptionKey: true })
})

test('never overwrites without --force', async () => {
  writeFileSync(join(folder, 'tenantctl.config.ts'), 'mine')
  const refused = await init(['--json'])
  expect(refused.exitCode).toBe(4)
  expect(JSON.parse(refused.stderr).error).toMatchObject({
    code: 'FILE_EXISTS',
    message: expect.stringContaining('tenantctl.config.ts'),
  })
  expect(content()).toBe('mine')
  expect(existsSync(join(folder, 'migrations'))).toBe(false)
  expect(installed).toBe(0)

  const forced = await init(['--force', '--json'])
  expect(forced.exitCode).toBe(0)
  expect(JSON.parse(forced.stdout).overwritten).toEqual(['tenantctl.config.ts'])
})

test('keeps a folder with migrations of the user', async () => {
  mkdirSync(join(folder, 'migrations/tenant'), { recursive: true })
  writeFileSync(join(folder, 'migrations/tenant/001_mine.sql'), '')
  const { stdout } = await init(['--json'])
  expect(JSON.parse(stdout).kept).toEqual(['migrations/tenant'])
  expect(readdirSync(join(folder, 'migrations/tenant'))).toEqual(['001_mine.sql'])
})

test('writes nothing when the registry cannot be installed', async () => {
  const install = async () => {
    throw new TenancyError('CONNECTION_FAILED', 'cannot reach db:5432')
  }
  const { exitCode } = await runCli(['init', '--embedded'], {
    cwd: folder,
    tenancy: { registry: { install } },
    library: {
      effectiveSettings: async () => ({ settings: [{ key: 'registry', value: 'x', source: 'y' }], file: null }),
    },
  })
  expect(exitCode).toBe(6)
  expect(readdirSync(folder)).toEqual([])
})

test('without a terminal a server has to be named', async () => {
  const resolveConfig = async () => {
    throw new TenancyError('NOT_CONFIGURED', 'no server')
  }
  const { exitCode } = await runCli(['init'], { cwd: folder, library: { resolveConfig } })
  expect(exitCode).toBe(2)
  expect(readdirSync(folder)).toEqual([])
})

test('leaves the folders of the package itself alone', async () => {
  const root = fileURLToPath(new URL('../../', import.meta.url))
  const plan = await planStarterFiles(root, { migrations: 'migrations/tenant', seeds: 'seeders/tenant' })
  expect(plan.files).toEqual([])
  expect(plan.kept).toHaveLength(2)
})

describe('the configuration file', () => {
  const folders = { migrations: 'm', seeds: 's' }
  test.each([
    ['postgresql://bob:s3cret@db.example.com:5432/app?sslmode=require', 'postgresql://bob:…@db.example.com:5432/app'],
    ['postgres://bob@db/app', 'postgres://bob:…@db/app'],
    ['postgresql://db/app?user=bob&password=s3cret', 'postgresql://db/app'],
    ['postgresql://bob:s3c/ret@db/app', 'postgresql://admin:…@host:5432/tenantctl'],
    ["postgresql://bob:s3cret@db/'+evil", 'postgresql://admin:…@host:5432/tenantctl'],
    ['host=db password=s3cret', 'postgresql://admin:…@host:5432/tenantctl'],
  ])('of %s holds no password', (url, advice) => {
    const text = configFileText({ url }, folders)
    expect(text).not.toMatch(/s3c/)
    expect(text).toContain(`TENANTCTL_REGISTRY_URL='${advice}'`)
  })

  test('quotes odd folder names', () => {
    expect(configFileText('embedded', { migrations: "it's", seeds: 'a"b\\c' })).toContain(
      `migrations: { directory: 'it\\'s' },\n  seeds: { directory: 'a"b\\\\c' }`,
    )
  })
})
