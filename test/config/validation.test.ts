import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { isResolvedConfig, resolveTenancyConfig, type TenancyConfig } from '../../src/config/config.ts'
import { Secret } from '../../src/secrets/secret.ts'
import { failure } from './support.ts'

const key = Buffer.alloc(32, 7).toString('base64')
const url = 'postgresql://admin:hunter2@db.example.com'
const resolve = (config: unknown) => resolveTenancyConfig(config as TenancyConfig, { directory: '/app' })
const problem = async (config: unknown) => (await failure(() => resolve(config))).message

describe('resolveTenancyConfig', () => {
  it('fills in every default', () => {
    const config = resolve({ registry: 'embedded' })
    expect(isResolvedConfig(config)).toBe(true)
    expect({ ...config }).toMatchObject({
      registry: { kind: 'embedded', directory: '/app/.tenantctl' },
      embedded: { directory: '/app/.tenantctl' },
      servers: {},
      encryption: { keys: [], keyFile: null },
      migrations: {
        directory: '/app/migrations/tenant',
        explicit: false,
        lockTimeoutMs: 5_000,
        statementTimeoutMs: 0,
      },
      seeds: { directory: '/app/seeders/tenant', explicit: false },
      naming: { prefix: 'tenant_', reserved: [] },
      database: { extensions: [], connectionLimit: -1 },
      fleet: { concurrency: null, maxFailures: null },
      connections: { max: 20, perTenant: 5, idleTimeoutMs: 30_000, acquireTimeoutMs: 10_000 },
      drop: { backupDirectory: null, requireBackup: false, retainMs: null },
      tools: { directory: null, path: [] },
    })
  })

  it('takes everything that can be written', () => {
    const database = ({ id }: { id: string }) => `t_${id}`
    const onEvent = () => undefined
    const config = resolve({
      registry: { url: new Secret(`${url}/control`) },
      embedded: { directory: 'pg' },
      servers: { 'eu-1': { url: 'postgres://root@eu' } },
      encryption: { keys: [key, new Secret(key)] },
      migrations: { directory: 'db', lockTimeout: '2s', statementTimeout: '1 min' },
      seeds: { directory: '/seeds' },
      naming: { prefix: '', database, reserved: ['staff'] },
      database: { extensions: ['uuid-ossp'], connectionLimit: 10 },
      fleet: { concurrency: 4, maxFailures: '2.5%' },
      connections: { max: 3, idleTimeout: 250, acquireTimeout: '1s' },
      drop: { backup: { directory: 'backups' }, requireBackup: 'fleet' },
      tools: { directory: '/opt/pg/bin' },
      onEvent,
    } satisfies TenancyConfig)
    expect(config.registry.kind === 'url' && config.registry.url.reveal()).toBe(
      'postgresql://admin:hunter2@db.example.com:5432/control',
    )
    expect(config.servers['eu-1']?.url.reveal()).toBe('postgresql://root@eu:5432/postgres')
    expect(config.encryption.keys.map(secret => secret.reveal())).toEqual([key, key])
    expect(config.migrations).toEqual({
      directory: '/app/db',
      explicit: true,
      lockTimeoutMs: 2_000,
      statementTimeoutMs: 60_000,
    })
    expect(config).toMatchObject({
      embedded: { directory: '/app/pg' },
      seeds: { directory: '/seeds', explicit: true },
      naming: { prefix: '', database, reserved: ['staff'] },
      database: { extensions: ['uuid-ossp'], connectionLimit: 10 },
      fleet: { concurrency: 4, maxFailures: '2.5%' },
      connections: { max: 3, perTenant: 3, idleTimeoutMs: 250, acquireTimeoutMs: 1_000 },
      drop: { backupDirectory: '/app/backups', requireBackup: 'fleet' },
      tools: { directory: '/opt/pg/bin', path: [] },
      onEvent,
    })
  })

  it('stays resolved when a part is replaced by spreading', () => {
    const config = resolve({ registry: 'embedded' })
    expect(isResolvedConfig({ ...config, onEvent: () => undefined })).toBe(true)
    expect(isResolvedConfig({ registry: 'embedded' })).toBe(false)
  })

  it('says that no server is configured', async () => {
    expect(await failure(() => resolve({}))).toMatchObject({
      code: 'NOT_CONFIGURED',
      hint: expect.stringContaining('embedded'),
    })
  })

  it('shows no password and no key when it is printed', () => {
    const config = resolve({ registry: { url }, encryption: { keys: [key] } })
    for (const shown of [inspect(config, { depth: 9 }), JSON.stringify(config)]) {
      expect(shown).not.toContain('hunter2')
      expect(shown).not.toContain(key)
    }
  })

  it('tells all problems at once, each with its key, what was expected and what was found', async () => {
    const error = await failure(() =>
      resolve({
        regsitry: 'embedded',
        migrations: { lockTimeout: 'soon', dir: 'db', lockTimout: 5 },
        servers: { default: { url: 'x' }, EU: {} },
        fleet: { concurrency: 0, maxFailures: '200%' },
        naming: { prefix: 'pg_x', database: 'x' },
        seeds: null,
        database: { connectionLimit: 0 },
        onEvent: 'x',
        colour: 'blue',
      }),
    )
    expect(error.code).toBe('CONFIG_INVALID')
    const lines = error.message.split('\n').map(line => line.trim().replace(/^configuration: /, ''))
    expect(lines).toEqual([
      '15 problems:',
      'regsitry: no such key; did you mean registry?',
      'migrations.dir: no such key; did you mean directory?',
      'migrations.lockTimout: no such key; did you mean lockTimeout?',
      expect.stringMatching(/^colour: no such key; expected registry, embedded, .* or onEvent$/),
      expect.stringMatching(/^servers\.default: expected another name/),
      expect.stringMatching(/^servers\.EU: expected a server's name .* found "EU"$/),
      'servers.EU.url: expected a URL, found nothing (undefined)',
      expect.stringMatching(/^migrations\.lockTimeout: expected a duration such as '5s'.* found "soon"$/),
      'seeds: expected an object with directory, found null',
      expect.stringMatching(/^naming\.prefix: expected at most 40 .* found "pg_x"$/),
      'naming.database: expected a function from a tenant to a name, found "x"',
      'database.connectionLimit: expected a whole number from 1, or -1 for no limit, found 0',
      'fleet.concurrency: expected a whole number from 1, found 0',
      'fleet.maxFailures: expected a whole number from 0, or a share such as \'10%\', found "200%"',
      'onEvent: expected a function, found "x"',
    ])
  })

  it.each([
    [5, 'expected an object, found 5'],
    [{ registry: url }, "registry: expected 'embedded', or an object with url, found another text"],
    [{ registry: { url: undefined } }, 'registry.url: expected a URL, found nothing (undefined)'],
    [{ registry: { url: ' ' } }, 'registry.url: expected a URL, found an empty text'],
    [{ registry: { url: 'mysql://root:hunter2@db' } }, 'does not start with postgresql://'],
    [{ registry: { url: 'host=db password=hunter2' } }, 'does not start with postgresql://'],
    [{ servers: { eu: { url: 'postgres://u:hunter2#x@db' } } }, 'servers.eu.url: expected a URL such as'],
    [{ encryption: 'hunter2' }, 'encryption: expected an object with keys or provider, found another text'],
    [{ migrations: { directory: 'postgres://u:hunter2@db', lockTimeout: url } }, 'found another text'],
    [{ registry: 'embedded', connections: { max: 3, perTenant: 4 } }, 'at most connections.max (3), found 4'],
    [{ registry: 'embedded', colour: { retain: '7d' } }, 'colour: no such key'],
    [{ registry: 'embedded', drop: { backup: {} } }, 'drop.backup.directory: expected the path of a folder'],
    [{ registry: 'embedded', drop: { requireBackup: 'all' } }, "drop.requireBackup: expected true, false or 'fleet'"],
  ])('refuses %j and gives no secret away', async (config, part) => {
    const message = await problem(config)
    expect(message).toContain(part)
    expect(message).not.toContain('hunter2')
  })

  it.each([
    ['7d', 7 * 86_400_000],
    ['90 days', 90 * 86_400_000],
    ['1y', 365.25 * 86_400_000],
    [3_600_000, 3_600_000],
  ])('drop.retain %j', (retain, retainMs) => {
    expect(resolve({ registry: 'embedded', drop: { retain } }).drop.retainMs).toBe(retainMs)
  })

  it.each([0, 10, -1, '0', '1ms', '11y', 'soon', '', Number.NaN, null, {}])('refuses drop.retain %j', async retain => {
    expect(await problem({ registry: 'embedded', drop: { retain } })).toContain(
      'drop.retain: expected a length of time',
    )
  })

  it('takes a key service, beside keys or alone', () => {
    const provider = { encrypt: async () => '', decrypt: async () => '' }
    expect(resolve({ registry: 'embedded', encryption: { provider } }).encryption).toEqual({
      ...{ keys: [], keyFile: null, provider },
    })
    const named = { ...provider, name: 'vault', decryptOnly: true }
    expect(resolve({ registry: 'embedded', encryption: { keys: [key], provider: named } }).encryption).toMatchObject({
      keys: [expect.any(Secret)],
      provider: named,
    })
  })

  it.each([{}, { encrypt: 'x', decrypt: 'y' }, { name: 'Vault' }, { name: 'a.b' }, { decryptOnly: 1 }, 'vault', null])(
    'refuses the key service %j',
    async wrong => {
      const functions = { encrypt: async () => '', decrypt: async () => '' }
      const complete = typeof wrong === 'object' && wrong && Object.keys(wrong).length > 0
      const provider = complete ? { ...functions, ...wrong } : wrong
      expect(await problem({ registry: 'embedded', encryption: { provider } })).toContain('encryption.provider')
    },
  )

  it('names a malformed key by its place, not its value', async () => {
    const error = await failure(() => resolve({ registry: 'embedded', encryption: { keys: [key, 'hunter2', 'x'] } }))
    expect(error.code).toBe('ENCRYPTION_KEY_INVALID')
    expect(error.message).toContain('configuration: encryption.keys[1]')
    expect(error.message).toContain('encryption.keys[2]')
    expect(error.message).not.toContain('hunter2')
  })

  it.each(['-1s', 'soon', '', '5 parsecs', -1, Number.NaN, Number.POSITIVE_INFINITY, '30d', null])(
    'refuses %j for a duration',
    async lockTimeout => {
      expect(await problem({ registry: 'embedded', migrations: { lockTimeout } })).toContain('expected a duration')
    },
  )
})
