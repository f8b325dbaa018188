/**
 * Tenants made of ready ones from the stock, against copies of the template, in turn; and what it costs to put one into
 * the stock. A schema of 20 tables and a seed, on a server of its own with fsync on.
 * Run: npm run build && node_modules/.bin/jiti bench/pool.ts [tenants per round] [rounds]
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createTenancy, generateEncryptionKey, type Tenancy } from '../src/index.ts'
import { startServer } from '../test/support/servers.ts'
import { inTurn, median, ratioOf, report, timed } from './measure.ts'

const perRound = Number(process.argv[2] ?? 10)
const rounds = Number(process.argv[3] ?? 3)
const folder = mkdtempSync(join(tmpdir(), 'tenantctl-bench-'))
const [migrations, seeds] = ['migrations', 'seeds'].map(name => join(folder, name)) as [string, string]
// Large enough that no checkpoint falls into a round of one side alone.
const server = await startServer({ settings: { fsync: 'on', full_page_writes: 'on', max_wal_size: '8GB' } })
const keys = [generateEncryptionKey()]
let made = 0

mkdirSync(migrations)
mkdirSync(seeds)
for (let n = 1; n <= 20; n += 1) {
  const table = `CREATE TABLE things_${n} (id serial PRIMARY KEY, name text NOT NULL, more jsonb, at timestamptz)`
  writeFileSync(join(migrations, `${String(n).padStart(3, '0')}_things.sql`), `${table};\n`)
}
writeFileSync(
  join(seeds, '01_rows.sql'),
  "INSERT INTO things_1 (name) SELECT 'row ' || n FROM generate_series(1, 20) n;\n",
)

function open(size: number): Tenancy {
  const url = `${server.superUrl.replace(/\/[^/]*$/, '/tenantctl')}?sslmode=disable`
  return createTenancy({
    registry: { url },
    encryption: { keys },
    migrations: { directory: migrations },
    seeds: { directory: seeds },
    pool: { size },
  })
}

/** Milliseconds for each of `perRound` new tenants. */
async function create(tenancy: Tenancy, concurrency: number): Promise<number> {
  const inputs = Array.from({ length: perRound }, () => {
    made += 1
    return { name: `made-${made}` }
  })
  const taken = await timed(async () => {
    if (concurrency === 1) for (const input of inputs) await tenancy.tenants.create(input)
    else if ((await tenancy.tenants.createMany(inputs, { concurrency })).succeeded < perRound) throw new Error('failed')
  })
  await tenancy.tenants.drop({ all: true }, { force: true })
  return taken / perRound
}

try {
  const [fromTemplate, fromStock] = [open(0), open(perRound)]
  await fromTemplate.tenants.create({ name: 'first' })
  for (const concurrency of [1, 4]) {
    const [template, stock, filling] = ['from the template', 'from the stock', 'to put one into the stock'].map(
      what => `create, ${what}, ${concurrency} at once`,
    ) as [string, string, string]
    const fills: number[] = []
    const times = await inTurn(rounds, {
      [template]: () => create(fromTemplate, concurrency),
      [stock]: async () => {
        fills.push((await timed(() => fromStock.pool.fill())) / perRound)
        const each = await create(fromStock, concurrency)
        if ((await fromStock.pool.status())[0]?.ready !== 0) throw new Error('the stock was not used')
        return each
      },
    })
    const [base, ours] = [times[template], times[stock]] as [number[], number[]]
    report({ what: template, value: median(base), unit: 'ms' })
    report({ what: stock, value: median(ours), unit: 'ms', against: template, ratio: ratioOf(ours, base) })
    if (concurrency === 4) report({ what: filling, value: median(fills), unit: 'ms' })
  }
  await fromTemplate.close()
  await fromStock.close()
} finally {
  await server.remove()
  rmSync(folder, { recursive: true, force: true })
}
