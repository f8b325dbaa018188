import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type ConfigFlags, type ConfigInput, effectiveSettings, resolveConfig } from '../../src/config/sources.ts'
import { failure, folder } from './support.ts'

const key = Buffer.alloc(32, 7).toString('base64')
type Given = { flags?: ConfigFlags; env?: Record<string, string>; file?: object; cwd?: string }

const resolve = ({ flags = {}, env = {}, file, cwd }: Given) => {
  const files: Record<string, string> = file ? { 'tenantctl.config.json': JSON.stringify(file) } : {}
  return resolveConfig({ flags, env, cwd: cwd ?? folder(files) })
}
const registry = async (given: Given) => {
  const { config, settings } = await resolve(given)
  const { source, value } = settings.find(setting => setting.key === 'registry') ?? {}
  const url = config.registry.kind === 'url' ? config.registry.url.reveal() : 'embedded'
  return { url, source, value }
}

const byFile = { registry: { url: 'postgresql://file@h' } }
const byDatabaseUrl = { DATABASE_URL: 'postgresql://database@h/app' }
const byUrl = { ...byDatabaseUrl, TENANTCTL_REGISTRY_URL: 'postgresql://variable@h', PGHOST: 'pghost' }

describe('the registry', () => {
  it.each([
    ['file tenantctl.config.json', { file: byFile }, 'postgresql://file@h:5432/tenantctl'],
    ['environment PGHOST', { file: byFile, env: { PGHOST: 'h' } }, 'postgresql://postgres@h:5432/tenantctl'],
    [
      'environment PGDATABASE',
      { env: { PGDATABASE: 'my app', USER: 'me' } },
      'postgresql://me@localhost:5432/my%20app',
    ],
    [
      'environment PGHOST',
      { env: { PGHOST: '/run/pg', PGPORT: '5433', PGUSER: 'me', PGPASSWORD: 'p@:/', PGSSLMODE: 'disable' } },
      'postgresql://me:p%40%3A%2F@%2Frun%2Fpg:5433/tenantctl?sslmode=disable',
    ],
    [
      'environment DATABASE_URL',
      { file: byFile, env: { ...byDatabaseUrl, PGUSER: 'x' } },
      'postgresql://database@h:5432/app',
    ],
    ['environment TENANTCTL_REGISTRY_URL', { file: byFile, env: byUrl }, 'postgresql://variable@h:5432/tenantctl'],
    [
      'environment TENANTCTL_EMBEDDED',
      { file: byFile, env: { ...byDatabaseUrl, TENANTCTL_EMBEDDED: '1' } },
      'embedded',
    ],
    [
      'flag --registry',
      { flags: { registry: 'postgres://flag@h' }, file: byFile, env: byUrl },
      'postgresql://flag@h:5432/tenantctl',
    ],
    [
      'flag --registry',
      { flags: { registry: 'postgres://flag@h' }, env: { TENANTCTL_EMBEDDED: '1' } },
      'postgresql://flag@h:5432/tenantctl',
    ],
    ['flag --embedded', { flags: { embedded: true }, file: byFile, env: byUrl }, 'embedded'],
    [
      'file tenantctl.config.json',
      { file: { registry: 'embedded' }, env: { TENANTCTL_EMBEDDED: '0', DATABASE_URL: '' } },
      'embedded',
    ],
  ] as [string, Given, string][])('comes from %s: %j', async (source, given, url) => {
    expect(await registry(given)).toMatchObject({ source, url })
  })

  it('takes a password that the URL leaves out from PGPASSWORD or the password file', async () => {
    const home = folder({ '.pgpass': 'h:5432:*:me:pw' })
    const flags = { registry: 'postgresql://me@h' }
    expect((await registry({ flags, env: { HOME: home } })).url).toBe('postgresql://me:pw@h:5432/tenantctl')
    expect((await registry({ flags, env: { PGPASSWORD: 'env' } })).url).toBe('postgresql://me:env@h:5432/tenantctl')
    expect((await registry({ file: { registry: { url: 'postgres://me@h' } }, env: { HOME: home } })).url).toContain(
      ':pw@',
    )
  })

  it('is masked in the settings', async () => {
    expect((await registry({ flags: { registry: 'postgresql://me:hunter2@h/x' } })).value).toBe(
      'postgresql://me:***@h:5432/x',
    )
    const { settings } = await resolve({ flags: { embedded: true }, env: { TENANTCTL_ENCRYPTION_KEY: key } })
    expect(settings).toContainEqual({
      key: 'encryption.keys',
      value: ['***'],
      source: 'environment TENANTCTL_ENCRYPTION_KEY',
    })
  })

  it('of a file may be wrong when something else is in its place', async () => {
    expect((await registry({ file: { registry: {} }, env: byDatabaseUrl })).url).toBe(
      'postgresql://database@h:5432/app',
    )
  })

  it.each([
    ['--registry', { flags: { registry: 'hunter2' } }],
    ['TENANTCTL_REGISTRY_URL', { env: { TENANTCTL_REGISTRY_URL: 'http://u:hunter2@h' } }],
    ['DATABASE_URL', { env: { DATABASE_URL: 'mysql://u:hunter2@h' } }],
    ['PG*', { env: { PGHOST: 'a,b', PGPASSWORD: 'hunter2' } }],
    ['tenantctl.config.json: registry.url', { file: { registry: { url: 'hunter2' } } }],
  ] as [string, Given][])('that cannot be read is blamed on %s, without the password', async (place, given) => {
    const error = await failure(() => resolve(given))
    expect(error.code).toBe('CONFIG_INVALID')
    expect(error.message).toContain(`${place}: expected a URL such as`)
    expect(`${error.message}${error.hint}`).not.toContain('hunter2')
  })

  it('must be given, and the hint tells the ways', async () => {
    const error = await failure(() => resolve({ env: { PGPASSWORD: 'x', PGSSLMODE: 'require', USER: 'me' } }))
    expect(error.code).toBe('NOT_CONFIGURED')
    for (const way of ['--registry', 'TENANTCTL_REGISTRY_URL', 'registry.url', '--embedded'])
      expect(error.hint).toContain(way)
  })

  it('cannot be two things at once', async () => {
    expect((await failure(() => resolve({ flags: { embedded: true, registry: 'postgres://h' } }))).code).toBe('USAGE')
    const env = { TENANTCTL_EMBEDDED: '1', TENANTCTL_REGISTRY_URL: 'postgres://h' }
    expect((await failure(() => resolve({ env }))).code).toBe('CONFIG_INVALID')
    expect((await failure(() => resolve({ env: { TENANTCTL_EMBEDDED: 'maybe' } }))).code).toBe('CONFIG_INVALID')
  })
})

describe('the encryption key', () => {
  const keys = async (given: Given) => {
    const { config } = await resolve({ flags: { embedded: true }, ...given })
    return { keys: config.encryption.keys.map(secret => secret.reveal()), keyFile: config.encryption.keyFile }
  }

  it('comes from the environment, a file named there, or the configuration', async () => {
    const other = Buffer.alloc(32, 9).toString('base64')
    const file = { encryption: { keys: [other] } }
    expect(await keys({})).toEqual({ keys: [], keyFile: null })
    expect(await keys({ file })).toEqual({ keys: [other], keyFile: null })
    expect(await keys({ file, env: { TENANTCTL_ENCRYPTION_KEY: key } })).toEqual({ keys: [key], keyFile: null })
    const cwd = folder({ 'the.key': `${key}\n` })
    expect(await keys({ cwd, env: { TENANTCTL_ENCRYPTION_KEY_FILE: 'the.key' } })).toEqual({
      keys: [key],
      keyFile: join(cwd, 'the.key'),
    })
  })

  it('is refused by the name of its source', async () => {
    const error = await failure(() => keys({ env: { TENANTCTL_ENCRYPTION_KEY: 'hunter2' } }))
    expect(error.code).toBe('ENCRYPTION_KEY_INVALID')
    expect(error.message).toMatch(/^TENANTCTL_ENCRYPTION_KEY: /)
    const env = { TENANTCTL_ENCRYPTION_KEY: key, TENANTCTL_ENCRYPTION_KEY_FILE: 'x' }
    expect((await failure(() => keys({ env }))).code).toBe('CONFIG_INVALID')
  })
})

describe('folders and files', () => {
  it('of flags are meant from the working folder, of the file from beside it', async () => {
    const top = folder({
      'tenantctl.config.json': JSON.stringify({ migrations: { directory: 'db' }, seeds: { directory: 'sd' } }),
      'sub/x': '',
    })
    const cwd = join(top, 'sub')
    const { config, settings, file } = await resolve({ cwd, flags: { embedded: true, migrations: '../mine' } })
    expect(file).toBe(join(top, 'tenantctl.config.json'))
    expect(config.migrations).toMatchObject({ directory: join(top, 'mine'), explicit: true })
    expect(config.seeds).toEqual({ directory: join(top, 'sd'), explicit: true })
    expect(config.registry).toEqual({ kind: 'embedded', directory: join(top, '.tenantctl') })
    const source = (key: string) => settings.find(setting => setting.key === key)?.source
    expect(source('migrations.directory')).toBe('flag --migrations')
    expect(source('seeds.directory')).toBe('file ../tenantctl.config.json')
    expect(source('connections.max')).toBe('default')
  })

  it('default to the working folder without a configuration file', async () => {
    const cwd = folder()
    const { config, file } = await resolve({ cwd, flags: { embedded: true } })
    expect(file).toBeNull()
    expect(config.embedded.directory).toBe(join(cwd, '.tenantctl'))
    expect(config.migrations).toMatchObject({ directory: join(cwd, 'migrations/tenant'), explicit: false })
  })

  it('a configuration file that was named is taken, or missed', async () => {
    const cwd = folder({ 'a.json': '{"naming":{"prefix":"a_"}}', 'b.json': '{"naming":{"prefix":"b_"}}' })
    const env = { TENANTCTL_CONFIG: 'a.json' }
    const prefix = async (flags: ConfigFlags) =>
      (await resolve({ cwd, env, flags: { embedded: true, ...flags } })).config.naming.prefix
    expect(await prefix({})).toBe('a_')
    expect(await prefix({ config: 'b.json' })).toBe('b_')
    expect((await failure(() => prefix({ config: 'c.json' }))).code).toBe('CONFIG_NOT_FOUND')
  })

  it('a flag without a value is bad usage', async () => {
    expect((await failure(() => resolve({ flags: { embedded: true, seeds: '' } }))).code).toBe('USAGE')
  })
})

describe('effectiveSettings', () => {
  it('shows the settings where no server is configured', async () => {
    const { settings, file } = await effectiveSettings({ env: {}, cwd: folder() })
    expect(file).toBeNull()
    expect(settings.slice(0, 2)).toEqual([
      { key: 'config', value: null, source: 'default' },
      { key: 'registry', value: null, source: 'default' },
    ])
    expect(settings.map(setting => setting.key)).toContain('connections.acquireTimeout')
  })

  it('begins with the configuration file and how it was found', async () => {
    const cwd = folder({ 'tenantctl.config.json': '{}', 'other.json': '{}' })
    const first = async (given: Partial<ConfigInput>) =>
      (await effectiveSettings({ env: {}, cwd, ...given })).settings[0]
    const found = { key: 'config', value: join(cwd, 'tenantctl.config.json'), source: 'found upwards' }
    expect(await first({})).toEqual(found)
    const other = { key: 'config', value: join(cwd, 'other.json') }
    const env = { TENANTCTL_CONFIG: 'other.json' }
    expect(await first({ env })).toEqual({ ...other, source: 'environment TENANTCTL_CONFIG' })
    expect(await first({ env, flags: { config: 'other.json' } })).toEqual({ ...other, source: 'flag --config' })
  })
})

it('a key service of the file stays when the environment gives a key', async () => {
  const text =
    "export default { registry: 'embedded', encryption: { provider: { name: 'kms', encrypt() {}, decrypt() {} } } }"
  const cwd = folder({ 'tenantctl.config.mjs': text })
  const { config, settings } = await resolveConfig({ flags: {}, env: { TENANTCTL_ENCRYPTION_KEY: key }, cwd })
  expect(config.encryption).toMatchObject({ keys: [expect.anything()], provider: { name: 'kms' } })
  expect(settings.find(setting => setting.key === 'encryption.provider')?.value).toBe('kms')
})
