import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { installedTools, toolsFor } from '../../src/dumps/tools.ts'
import { createTenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'
import { runBin } from '../support/process.ts'

const namespace = useNamespace()

/** Programs that know their version and nothing else. */
function programs(folder: string, versions: { pg_dump?: string; pg_restore?: string }): string {
  const directory = join(namespace.directory, folder)
  mkdirSync(directory, { recursive: true })
  for (const [name, version] of Object.entries(versions)) {
    const file = join(directory, name)
    writeFileSync(file, `#!/bin/sh\necho "${name} (PostgreSQL) ${version}"\n`)
    chmodSync(file, 0o755)
  }
  return directory
}

describe('pg_dump and pg_restore', () => {
  const usual = { pg_dump: '17.2 (Debian 17.2-1)', pg_restore: '17.2' }

  test('are found in the folder that is named, or in the PATH, each version once', async () => {
    const a = programs('a', usual)
    const b = programs('b', { pg_dump: '99beta1', pg_restore: '99beta1' })
    expect(await installedTools({ directory: a, path: [b] })).toMatchObject([{ version: 17, directory: a }])
    const everywhere = await installedTools({ directory: null, path: [b, a, '/nowhere'] })
    expect(everywhere.at(-1)).toMatchObject({ version: 99, directory: b })
    expect(everywhere.map(({ version }) => version)).toEqual(
      [...new Set(everywhere.map(({ version }) => version))].sort((x, y) => x - y),
    )
  })

  test('the oldest that is not older than the server is taken', async () => {
    const path = [
      programs('16', { pg_dump: '16.1', pg_restore: '16.1' }),
      programs('98', { pg_dump: '98.1', pg_restore: '98.1' }),
      programs('97', { pg_dump: '97.0', pg_restore: '97.0' }),
    ]
    expect((await toolsFor(960_003, { directory: null, path }))[0]).toMatchObject({ version: 97 })
    expect((await toolsFor(970_003, { directory: null, path }))[0]).toMatchObject({ version: 97 })
    expect((await toolsFor(980_000, { directory: null, path }))[0]).toMatchObject({ version: 98 })
  })

  test.each([
    ['nothing', {}],
    ['pg_dump alone', { pg_dump: '18.0' }],
    ['two versions', { pg_dump: '18.0', pg_restore: '17.0' }],
    ['something else of that name', { pg_dump: 'x', pg_restore: 'x' }],
  ])('%s is as good as none', async (_what, versions) => {
    const directory = programs(`odd${Object.values(versions).join('')}`, versions)
    await expect(toolsFor(150_000, { directory, path: [] })).rejects.toMatchObject({
      code: 'TOOL_MISSING',
      hint: expect.stringContaining('postgresql-client-15'),
    })
  })
})

describe('that are older than the server', () => {
  beforeAll(async () => {
    const tenancy = createTenancy(namespace.config())
    await tenancy.tenants.create({ name: 'acme' })
    await tenancy.close()
    namespace.writeConfig({ tools: { directory: programs('old', { pg_dump: '9.6', pg_restore: '9.6' }) } })
  })
  const run = (...args: string[]) => runBin([...args, '--json'], { cwd: namespace.directory })

  test('are refused before anything is touched, with what to install', async () => {
    const { exitCode, stderr } = await run('drop', 'acme', '--yes', '--force', '--backup', 'backups')
    expect(exitCode).toBe(2)
    const { error } = JSON.parse(stderr)
    expect(error).toMatchObject({
      code: 'TOOL_MISSING',
      message: expect.stringContaining('pg_dump 9'),
      hint: expect.stringContaining(`postgresql-client-${namespace.major} (apt)`),
    })
    expect(JSON.parse((await run('show', 'acme')).stdout)).toMatchObject({ status: 'active' })
    const operations = JSON.parse((await run('operations', 'acme')).stdout)
    expect(operations.map(({ kind }: { kind: string }) => kind)).toEqual(['create'])
  })

  test('cannot restore either', async () => {
    const file = namespace.writeFile('a.dump', 'PGDMP')
    const { exitCode, stderr } = await run('restore', file, '--as', 'beta')
    expect(exitCode).toBe(2)
    expect(JSON.parse(stderr).error.code).toBe('TOOL_MISSING')
    expect((await run('show', 'beta')).exitCode).toBe(3)
  })
})
