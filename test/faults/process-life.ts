/** The command line as a process of its own that kills itself with SIGKILL at a chosen statement. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Namespace } from '../support/namespace.ts'
import { type BinResult, runBin } from '../support/process.ts'
import type { Ending, Fault } from './life.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Loaded by node before the program. */
const preload = `
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
const { createJiti } = createRequire(${JSON.stringify(`${root}package.json`)})('jiti')
const { liveAsProcess } = await createJiti(${JSON.stringify(root)}).import(${JSON.stringify(`${root}test/faults/life.ts`)})
const { fault, count } = JSON.parse(process.env.TENANTCTL_TEST_LIFE)
const life = liveAsProcess(fault ?? undefined)
process.on('exit', () => writeFileSync(count, String(life.sent)))
`

/** Runs `tenantctl …` with the configuration file, up to the fault, which must be a death. */
export async function liveInProcess(
  namespace: Namespace,
  config: string,
  args: readonly string[],
  fault: Fault | undefined,
): Promise<Ending<BinResult>> {
  const count = join(namespace.directory, 'count')
  const result = await runBin(['--config', config, '--json', '--no-input', ...args], {
    env: {
      NODE_OPTIONS: `--import=file://${namespace.writeFile('preload.mjs', preload)}`,
      TENANTCTL_TEST_LIFE: JSON.stringify({ fault, count }),
    },
    timeout: 120_000,
  })
  if (result.signal === 'SIGKILL' && !result.timedOut) return { kind: 'died', statement: '', sent: 0 }
  const sent = Number(readFileSync(count, 'utf8'))
  if (result.exitCode === 0) return { kind: 'returned', value: result, statement: undefined, sent }
  return { kind: 'threw', error: new Error(result.all), statement: undefined, sent }
}
