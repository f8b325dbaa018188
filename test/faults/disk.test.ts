import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { tryLogin } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { startServer, type TestServer } from '../support/servers.ts'
import { expectUsable, writeFolders } from './commands.ts'
import { expectClean, problems, repairAll } from './sweep.ts'

/* A server whose disk is full: a small tmpfs, which only root may mount. */

const megabyte = 1024 * 1024
const disk = mount(200)

if (!disk) console.info('skipped: a full disk needs a tmpfs, and mounting one needs root')

describe.skipIf(!disk)('a full disk', () => {
  const directory = disk as string
  const ballast = join(directory, 'ballast')
  let server: TestServer

  beforeAll(async () => {
    const { TMPDIR } = process.env
    process.env.TMPDIR = directory
    try {
      server = await startServer({ settings: { max_wal_size: '64MB', min_wal_size: '32MB', wal_recycle: 'off' } })
    } finally {
      if (TMPDIR === undefined) delete process.env.TMPDIR
      else process.env.TMPDIR = TMPDIR
    }
  })
  afterAll(async () => {
    await server?.remove()
    execFileSync('umount', ['--lazy', directory])
    rmSync(directory, { recursive: true, force: true })
  })

  const namespace = useNamespace({ server: () => server, allowSessions: true })
  let tenancy: Tenancy
  let before: string[]

  beforeAll(async () => {
    writeFolders(namespace)
    tenancy = namespace.track(createTenancy(namespace.config()))
    await tenancy.registry.install()
    before = await problems(tenancy)
  })

  /** Leaves so many bytes, and no more. */
  function fill(left: number): void {
    const { bavail, bsize } = statfsSync(directory)
    writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - left)))
  }

  test.each([0.1, 0.5, 2])(
    'with %d MB left: told, and finished when there is room again',
    { timeout: 60_000 },
    async left => {
      fill(left * megabyte)
      const error: unknown = await tenancy.tenants.create({ name: 'acme' }).then(
        () => undefined,
        thrown => thrown,
      )
      rmSync(ballast, { force: true })
      // Where it is the write-ahead log that has no room, the server itself goes down.
      expect(error).toMatchObject({ code: expect.stringMatching(/^(OUT_OF_RESOURCES|CONNECTION_FAILED)$/) })
      if (!(await tryLogin(namespace.adminUrl)).ok) {
        await server.stop('immediate')
        await server.start()
      }
      await repairAll(tenancy)
      await expectClean(namespace, tenancy, before)
      await tenancy.tenants.create({ name: 'acme', ifNotExists: true })
      await expectUsable(tenancy, 'acme')
      await tenancy.tenants.drop({ all: true }, { force: true })
    },
  )
})

function mount(size: number): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return undefined
  const directory = mkdtempSync(join(tmpdir(), 'tenantctl-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}m`, 'tmpfs', directory], { stdio: 'ignore' })
    // PostgreSQL runs under another account.
    chmodSync(directory, 0o755)
    return directory
  } catch {
    rmSync(directory, { recursive: true, force: true })
    return undefined
  }
}
