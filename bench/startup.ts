/**
 * How long commands take to start, as whole processes, against `node -e 0` in the same run.
 * Run: npm run build && node_modules/.bin/jiti bench/startup.ts
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const bin = fileURLToPath(new URL('../bin/tenantctl.js', import.meta.url))
const runs = Number(process.argv[2] ?? 21)
const folder = mkdtempSync(join(tmpdir(), 'tenantctl-bench-'))

const cases: Record<string, string[]> = {
  'node -e 0': ['-e', '0'],
  'tenantctl --version': [bin, '--version'],
  'tenantctl --help': [bin, '--help'],
  'tenantctl list --embedded (warm server)': [bin, 'list', '--embedded'],
}

function once(args: string[]): number {
  const startedAt = performance.now()
  const { status, stderr } = spawnSync(process.execPath, args, { cwd: folder })
  if (status !== 0) throw new Error(`${args.join(' ')}: exit ${status}\n${stderr}`)
  return performance.now() - startedAt
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number
}

try {
  for (const args of Object.values(cases)) once(args)
  const times = new Map(Object.keys(cases).map(name => [name, [] as number[]]))
  // In turn, so that a machine that slows down slows all of them.
  for (let run = 0; run < runs; run += 1) {
    for (const [name, args] of Object.entries(cases)) times.get(name)?.push(once(args))
  }
  const baseline = median(times.get('node -e 0') as number[])
  for (const [name, values] of times) {
    const value = median(values)
    console.log(`${name.padEnd(42)} ${value.toFixed(0).padStart(5)} ms  ${(value / baseline).toFixed(2)} x`)
  }
} finally {
  spawnSync(process.execPath, [bin, 'embedded', 'reset', '--embedded', '--yes'], { cwd: folder })
  rmSync(folder, { recursive: true, force: true })
}
