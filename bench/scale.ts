/**
 * A fleet of real databases that grows: how fast `create --file`, `migrate --all` and `status --all --summary` are at
 * each size, and how much memory they take at most. Each is a process of its own, with all defaults, on a server of its
 * own with fsync on; a database takes 8 MB of disk, and a size for which there is no room is left out.
 *
 * The rate of `create` is that of the tenants added since the size before.
 * Run: npm run build && node_modules/.bin/jiti bench/scale.ts [sizes, as in 1000,2500,5000]
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { generateEncryptionKey } from '../src/index.ts'
import { startServer } from '../test/support/servers.ts'
import { report } from './measure.ts'

const sizes = (process.argv[2] ?? '250,500,1000,2500,5000').split(',').map(Number)
const bin = fileURLToPath(new URL('../bin/tenantctl.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'tenantctl-bench-'))
const migrations = join(folder, 'migrations')
const server = await startServer({ settings: { fsync: 'on', full_page_writes: 'on', max_wal_size: '8GB' } })
const diskOfOne = 10 * 2 ** 20

/** At the end of a process, its greatest size in kilobytes goes to its fourth stream. */
const tellsMemory = `data:text/javascript,${encodeURIComponent(
  `import { writeSync } from 'node:fs'
   process.on('exit', () => writeSync(3, String(process.resourceUsage().maxRSS)))`,
)}`
const env = {
  ...process.env,
  NODE_OPTIONS: `--import=${tellsMemory}`,
  TENANTCTL_REGISTRY_URL: `${server.superUrl.replace(/\/[^/]*$/, '/tenantctl')}?sslmode=disable`,
  TENANTCTL_ENCRYPTION_KEY: generateEncryptionKey(),
}

interface Run {
  milliseconds: number
  note: string
}

function tenantctl(...args: string[]): Run {
  const startedAt = performance.now()
  const { status, stderr, output } = spawnSync(
    process.execPath,
    [bin, ...args, '--json', '--migrations', migrations, '--seeds', folder],
    { cwd: folder, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe', 'pipe'], maxBuffer: 2 ** 30 },
  )
  const milliseconds = performance.now() - startedAt
  if (status !== 0) throw new Error(`tenantctl ${args.join(' ')}: exit ${status}\n${stderr.slice(-4_000)}`)
  const megabytes = Math.round(Number(output[3]) / 1024)
  return { milliseconds, note: `${(milliseconds / 1000).toFixed(1)} s, ${megabytes} MB at most` }
}

const reportRate = (what: string, tenants: number, { milliseconds, note }: Run) =>
  report({ what, value: (tenants / milliseconds) * 60_000, unit: '/min', note })

try {
  mkdirSync(migrations)
  writeFileSync(join(migrations, '000_notes.sql'), 'CREATE TABLE notes (id int PRIMARY KEY, body text);\n')
  let made = 0
  for (const [index, size] of sizes.entries()) {
    const { bavail, bsize } = statfsSync(folder)
    if (bavail * bsize < (size - made) * diskOfOne) {
      console.log(`${size} tenants: no room on the disk`)
      break
    }
    const rows = Array.from({ length: size - made }, (_, row) => `tenant-${made + row}\n`)
    writeFileSync(join(folder, 'tenants.csv'), `name\n${rows.join('')}`)
    reportRate(`create --file, ${made} to ${size} tenants`, rows.length, tenantctl('create', '--file', 'tenants.csv'))
    made = size
    writeFileSync(join(migrations, `${index + 1}00_column.sql`), `ALTER TABLE notes ADD COLUMN c${index} int;\n`)
    reportRate(`migrate --all, ${size} tenants`, size, tenantctl('migrate', '--all'))
    const upToDate = tenantctl('migrate', '--all')
    const summary = tenantctl('status', '--all', '--summary')
    const nothing = { what: `migrate --all, ${size} tenants, nothing pending`, value: upToDate.milliseconds }
    report({ ...nothing, unit: 'ms', target: { atMost: 500 }, note: upToDate.note })
    const status = { what: `status --all --summary, ${size} tenants`, value: summary.milliseconds }
    report({ ...status, unit: 'ms', note: summary.note })
  }
} finally {
  await server.remove()
  rmSync(folder, { recursive: true, force: true })
}
