/**
 * How long commands take to start, as whole processes, against `node -e 0` in the same run.
 * Run: npm run build && node_modules/.bin/jiti bench/startup.ts [runs of each]
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Figure, inTurn, median, ratioOf, report, timed } from './measure.ts'

const bin = fileURLToPath(new URL('../bin/tenantctl.js', import.meta.url))
const runs = Number(process.argv[2] ?? 21)
const folder = mkdtempSync(join(tmpdir(), 'tenantctl-bench-'))
const baseline = 'node -e 0'

const commands: Record<string, { args: string[]; target?: Figure['target'] }> = {
  [baseline]: { args: ['-e', '0'] },
  'tenantctl --version': { args: [bin, '--version'], target: { atMost: 1.5 } },
  'tenantctl --help': { args: [bin, '--help'] },
  'tenantctl list --embedded (warm server)': { args: [bin, 'list', '--embedded'] },
}

function start(args: string[]): Promise<number> {
  return timed(() => {
    const { status, stderr } = spawnSync(process.execPath, args, { cwd: folder })
    if (status !== 0) throw new Error(`${args.join(' ')}: exit ${status}\n${stderr}`)
  })
}

try {
  for (const { args } of Object.values(commands)) await start(args)
  const times = await inTurn(
    runs,
    Object.fromEntries(Object.entries(commands).map(([what, { args }]) => [what, () => start(args)])),
  )
  const base = times[baseline] as number[]
  for (const [what, values] of Object.entries(times)) {
    const target = commands[what]?.target
    report({
      ...{ what, value: median(values), unit: 'ms' },
      ...(what === baseline ? {} : { against: baseline, ratio: ratioOf(values, base) }),
      ...(target ? { target } : {}),
    })
  }
} finally {
  spawnSync(process.execPath, [bin, 'embedded', 'reset', '--embedded', '--yes'], { cwd: folder })
  rmSync(folder, { recursive: true, force: true })
}
