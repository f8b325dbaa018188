import { spawn } from 'node:child_process'
import { chown, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { embeddedServer } from '../../src/embedded/server.ts'
import { project, query, startElsewhere, useProjects, waitFor } from './support.ts'

useProjects()

test('killed in the middle of initdb: the next start begins anew; several at once start one server', async () => {
  const { directory } = await project()
  const killed = startElsewhere(directory)
  await waitFor(async () => (await readdir(directory).catch(() => [])).some(name => name.startsWith('initdb-')))
  killed.child.kill('SIGKILL')

  const started = await Promise.all([1, 2, 3].map(() => startElsewhere(directory).outcome))
  expect(new Set(started.map(({ pid }) => pid)).size).toBe(1)
  expect(new Set(started.map(({ url }) => url)).size).toBe(1)
  expect(await query(started[0]?.url ?? '', 'select 1 as one')).toEqual([{ one: 1 }])
  expect((await embeddedServer(directory).status()).pid).toBe(started[0]?.pid)
  expect((await readdir(directory)).filter(name => /^(initdb|temporary|lock\.new)-/.test(name))).toEqual([])
}, 30_000)

test('survives kill -9, busy sessions and process ids that others have now', async () => {
  const { directory } = await project()
  const server = embeddedServer(directory)
  const { url, pid } = await server.start()
  await query(url, 'create table kept as select 1 as n')

  // a session that is busy does not notice the end of its server, and holds its shared memory
  const busy = query(url, 'select count(*) from generate_series(1, 1e10)').catch(() => {})
  await waitFor(
    async () =>
      (await query(url, `select from pg_stat_activity where query like '%1e10%' and pid <> pg_backend_pid()`)).length >
      0,
  )
  process.kill(pid ?? 0, 'SIGKILL')
  await waitFor(async () => (await server.status()).state === 'stopped')
  const again = await server.start()
  expect(again.pid).not.toBe(pid)
  expect(await query(url, 'select n from kept')).toEqual([{ n: 1 }])
  await busy

  await server.stop()
  const data = join(directory, 'data')
  const { uid, gid } = await stat(data)
  const stranger = spawn('sleep', ['60'], { uid, gid, cwd: '/' })
  try {
    const stale = join(data, 'postmaster.pid')
    await writeFile(
      stale,
      `${stranger.pid}\n${data}\n1700000000\n${again.port}\n\n127.0.0.1\n  0         0\nready   \n`,
      { mode: 0o600 },
    )
    await chown(stale, uid, gid)
    expect(await server.status()).toMatchObject({ state: 'stopped', pid: null })
    expect(await server.stop()).toMatchObject({ state: 'stopped' })
    expect((await server.start()).pid).not.toBe(stranger.pid)
    expect(stranger.exitCode).toBeNull()
  } finally {
    stranger.kill()
  }
}, 30_000)
