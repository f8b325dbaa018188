import { chmodSync, chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { findConfigFile, importConfigFile, loadConfig } from '../../src/config/file.ts'
import { locateJsonError } from '../../src/config/json.ts'
import { failure, folder } from './support.ts'

const load = (name: string, text: string) => {
  const directory = folder({ [name]: text })
  return importConfigFile(join(directory, name), name)
}
const embedded = { registry: 'embedded' }

describe('findConfigFile', () => {
  it('looks upwards, nearest first, TypeScript before the rest', () => {
    const top = folder({ 'tenantctl.config.json': '{}', 'a/tenantctl.config.mjs': '', 'a/tenantctl.config.ts': '' })
    mkdirSync(join(top, 'b/c'), { recursive: true })
    mkdirSync(join(top, 'b/tenantctl.config.js'))
    expect(findConfigFile(join(top, 'a'))).toBe(join(top, 'a/tenantctl.config.ts'))
    expect(findConfigFile(join(top, 'b/c'))).toBe(join(top, 'tenantctl.config.json'))
  })

  it('finds nothing where there is nothing', () => {
    expect(findConfigFile(folder())).toBeNull()
  })
})

describe('a configuration file', () => {
  it('may be TypeScript and import us without having us installed', async () => {
    const text = `
      import { defineConfig, type TenancyConfig } from 'tenantctl'
      enum Kind { embedded = 'embedded' }
      export default defineConfig({ registry: Kind.embedded, seeds: { directory: import.meta.dirname } } satisfies TenancyConfig)`
    expect(await load('tenantctl.config.ts', text)).toEqual({ ...embedded, seeds: { directory: expect.any(String) } })
    expect(
      await load(
        'tenantctl.config.mjs',
        `import { defineConfig } from 'tenantctl'; export default defineConfig({ registry: 'embedded' })`,
      ),
    ).toEqual(embedded)
  })

  it.each([
    ['an object', 'js', `export default { registry: 'embedded' }`],
    ['a promise', 'mjs', `export default Promise.resolve({ registry: 'embedded' })`],
    ['a function', 'ts', `export default () => ({ registry: 'embedded' })`],
    ['an async function', 'mts', `export default async () => ({ registry: 'embedded' })`],
    [
      'an object after waiting',
      'mjs',
      `const registry = await Promise.resolve('embedded'); export default { registry }`,
    ],
    ['an object in CommonJS', 'js', `module.exports = { registry: 'embedded' }`],
    ['JSON', 'json', '\uFEFF{ "registry": "embedded" }'],
  ])('may give %s', async (_what, extension, text) => {
    expect(await load(`tenantctl.config.${extension}`, text)).toEqual(embedded)
  })

  it('may import a file beside it', async () => {
    const directory = folder({
      'tenantctl.config.ts': `import { registry } from './registry.ts'\nexport default { registry }`,
      'registry.ts': `export const registry: string = 'embedded'`,
    })
    expect(await importConfigFile(join(directory, 'tenantctl.config.ts'), 'x')).toEqual(embedded)
  })

  it('is read anew after an edit', async () => {
    const text = (seeds: string) => `export default { seeds: { directory: '${seeds}' } }`
    const directory = folder({ 'tenantctl.config.ts': text('one') })
    const file = join(directory, 'tenantctl.config.ts')
    expect(await importConfigFile(file, 'x')).toEqual({ seeds: { directory: 'one' } })
    writeFileSync(file, text('two'))
    expect(await importConfigFile(file, 'x')).toEqual({ seeds: { directory: 'two' } })
  })

  it('is compiled into node_modules/.cache, where there is one', async () => {
    const directory = folder({
      'tenantctl.config.ts': `export default { registry: 'embedded' }`,
      'node_modules/.keep': '',
    })
    for (const _again of [1, 2])
      expect(await importConfigFile(join(directory, 'tenantctl.config.ts'), 'x')).toEqual(embedded)
    expect(statSync(join(directory, 'node_modules/.cache/tenantctl')).mode & 0o777).toBe(0o700)
  })

  it.each([
    ['tenantctl.config.ts', `throw new Error('no vault')`, 'could not be loaded: no vault'],
    ['tenantctl.config.ts', `export default () => { throw new Error('no vault') }`, 'could not be loaded: no vault'],
    ['tenantctl.config.mjs', `export default Promise.reject(new Error('no vault'))`, 'could not be loaded: no vault'],
    ['tenantctl.config.ts', `import 'no-such-package'`, 'no-such-package'],
    ['tenantctl.config.ts', 'export default {{', 'could not be loaded'],
    ['tenantctl.config.ts', 'export const config = {}', 'expected a default export'],
    ['tenantctl.config.json', '{\n  "registry": { "url": "hunter2" }\n  "x": 1\n}', 'line 3, column 3'],
    ['tenantctl.config.json', '', 'line 1, column 1'],
  ])('that fails is named: %s with %j', async (name, text, part) => {
    const error = await failure(() => load(name, text))
    expect(error.code).toBe('CONFIG_INVALID')
    expect(error.message).toContain(name)
    expect(error.message).toContain(part)
    expect(`${error.message}${error.cause}`).not.toContain('hunter2')
  })

  it('that is not there is told', async () => {
    const directory = folder()
    expect((await failure(() => importConfigFile(join(directory, 'x.ts'), 'x.ts'))).code).toBe('CONFIG_NOT_FOUND')
    expect((await failure(() => importConfigFile(directory, 'x'))).code).toBe('CONFIG_NOT_FOUND')
  })

  it('that anybody may change is refused', async () => {
    const file = join(folder({ 'tenantctl.config.json': '{}' }), 'tenantctl.config.json')
    chmodSync(file, 0o646)
    expect(await failure(() => importConfigFile(file, 'x'))).toMatchObject({
      code: 'CONFIG_INVALID',
      hint: `chmod o-w ${file}`,
    })
  })

  it.runIf(process.getuid?.() === 0)('of another user is refused, unless the folder is that user’s', async () => {
    const directory = folder({ 'tenantctl.config.json': '{}' })
    const file = join(directory, 'tenantctl.config.json')
    chownSync(file, 12345, 12345)
    expect((await failure(() => importConfigFile(file, 'x'))).message).toContain('another user (12345)')
    chownSync(directory, 12345, 12345)
    expect(await importConfigFile(file, 'x')).toEqual({})
  })
})

describe('loadConfig', () => {
  it('takes folders from beside the file', async () => {
    const directory = folder({ 'tenantctl.config.json': '{ "registry": "embedded" }', 'a/b/c': '' })
    const config = await loadConfig({ cwd: join(directory, 'a/b') })
    expect(config.registry).toEqual({ kind: 'embedded', directory: join(directory, '.tenantctl') })
    expect(config.migrations).toMatchObject({ directory: join(directory, 'migrations/tenant'), explicit: false })
    expect((await loadConfig({ cwd: directory, file: 'tenantctl.config.json' })).registry).toEqual(config.registry)
  })

  it('says when there is no file, or no server in it', async () => {
    expect((await failure(() => loadConfig({ cwd: folder() }))).code).toBe('CONFIG_NOT_FOUND')
    const directory = folder({ 'tenantctl.config.json': '{}' })
    expect((await failure(() => loadConfig({ cwd: directory }))).code).toBe('NOT_CONFIGURED')
  })

  it('names the file and the key of a problem', async () => {
    const directory = folder({ 'tenantctl.config.json': '{ "registry": { "uri": "hunter2" } }', 'a/b': '' })
    expect((await failure(() => loadConfig({ cwd: directory }))).message).toBe(
      [
        '2 problems:',
        'tenantctl.config.json: registry.uri: no such key; did you mean url?',
        'tenantctl.config.json: registry.url: expected a URL, found nothing (undefined)',
      ].join('\n  '),
    )
    expect((await failure(() => loadConfig({ cwd: join(directory, 'a') }))).message).toContain(
      '../tenantctl.config.json',
    )
  })
})

describe('locateJsonError', () => {
  it.each([
    ['{"a": 1,}', 1, 9],
    ['{\n"a" 1}', 2, 5],
    ['[1,\n\n  nope]', 3, 3],
    ['{"a": "b', 1, 7],
    ['{} x', 1, 4],
    ["{'a': 1}", 1, 2],
    ['[1 2]', 1, 4],
    ['// hi\n{}', 1, 1],
  ])('%j: line %i, column %i', (text, line, column) => {
    expect(() => JSON.parse(text)).toThrow()
    expect(locateJsonError(text)).toEqual({ line, column })
  })
})
