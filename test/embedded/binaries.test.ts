import { execFileSync } from 'node:child_process'
import { chmod, cp, lstat, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { expect, test } from 'vitest'
import { findBinaries } from '../../src/embedded/binaries.ts'
import { embeddedServer } from '../../src/embedded/server.ts'
import { isRoot, project, query, useProjects } from './support.ts'

useProjects()

/** The binaries as npm leaves them without install scripts. */
async function unlinkedBinaries(folder: string): Promise<string> {
  const source = await findBinaries(folder)
  const native = join(folder, 'node_modules', 'native')
  await mkdir(folder, { recursive: true })
  await cp(source, native, { recursive: true, filter: path => !path.endsWith('.a') && !path.includes('libecpg') })
  for (const { target } of await links(native)) await rm(join(native, relative('native', target)), { force: true })
  return native
}

async function links(native: string): Promise<{ target: string }[]> {
  return JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8'))
}

const exists = (path: string) =>
  lstat(path).then(
    () => true,
    () => false,
  )

test('links that the install script did not make are made, or a copy has them', async () => {
  const { folder, directory } = await project()
  const binaries = await unlinkedBinaries(folder)
  if (!isRoot) await chmod(join(binaries, 'lib'), 0o500)
  const server = embeddedServer(directory, { binaries })
  const { url } = await server.start().finally(() => chmod(join(binaries, 'lib'), 0o700))
  expect(await query(url, 'select 1 as one')).toEqual([{ one: 1 }])
  const copied = (await readdir(directory)).filter(name => name.startsWith('postgresql-'))
  expect(copied.length).toBe(isRoot ? 0 : 1)
  const library = (await links(binaries)).some(({ target }) => target.includes('libicuuc'))
  if (isRoot && library) expect(await exists(join(binaries, 'lib', 'libicuuc.so.60'))).toBe(true)
}, 30_000)

test.runIf(isRoot)(
  'root below a folder that root alone may enter: data and binaries are kept outside',
  async () => {
    const { folder, directory } = await project()
    const binaries = await unlinkedBinaries(folder)
    await chmod(folder, 0o700)
    const server = embeddedServer(directory, { binaries })
    const started = await server.start()
    const place = join(started.dataDirectory ?? '', '..')
    expect(place.startsWith('/var/lib/tenantctl/')).toBe(true)
    expect((await stat(place)).mode & 0o777).toBe(0o711)
    expect(await stat(join(place, 'data'))).not.toMatchObject({ uid: 0 })
    expect(execFileSync('find', [place, '-not', '-type', 'l', '-perm', '/022'], { encoding: 'utf8' })).toBe('')
    expect(await query(started.url, 'select 1 as one')).toEqual([{ one: 1 }])
    expect((await server.stop()).state).toBe('stopped')

    // a renamed project keeps its server; a copy of it is not the same server
    const moved = join(folder, '..', 'renamed', '.tenantctl')
    await rename(folder, join(folder, '..', 'renamed'))
    const there = embeddedServer(moved, { binaries: binaries.replace(folder, join(folder, '..', 'renamed')) })
    expect(await there.start()).toMatchObject({ url: started.url, dataDirectory: started.dataDirectory })
    const copy = join(folder, '..', 'copy', '.tenantctl')
    await cp(moved, copy, { recursive: true })
    expect(await embeddedServer(copy).status()).toMatchObject({ state: 'absent' })
    await embeddedServer(copy).reset()
    expect((await there.status()).state).toBe('running')

    // the folder was deleted by hand: the server of unknown password makes room for a new one, and reset leaves nothing
    await rm(moved, { recursive: true })
    expect((await there.status()).state).toBe('absent')
    expect((await there.start()).url).not.toBe(started.url)
    await there.reset()
    expect([await exists(place), await exists(moved)]).toEqual([false, false])
  },
  30_000,
)
