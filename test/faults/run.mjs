/** `npm run faults`: the fault tests at length, before a release. What is not named here goes to vitest. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const usage = `npm run faults -- [--kills <n>] [--all] [--seed <n>] [<test file>…]

  --kills <n>  so many random kills of the command line; alone, without the other fault tests
  --all        every statement of every command, in every way (hours)
  --seed <n>   the seed of an earlier run`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    kills: { type: 'string' },
    seed: { type: 'string' },
    all: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
})
const wrong = [values.kills, values.seed].some(value => value !== undefined && !/^\d+$/.test(value))
if (values.help || wrong) {
  console.error(usage)
  process.exit(values.help ? 0 : 2)
}
const files =
  positionals.length > 0
    ? positionals
    : [values.kills === undefined || values.all ? 'test/faults' : 'test/faults/random-kills.test.ts']
const { status } = spawnSync('npx', ['--no-install', 'vitest', 'run', ...files], {
  cwd: fileURLToPath(new URL('../../', import.meta.url)),
  stdio: 'inherit',
  env: {
    ...process.env,
    ...(values.kills ? { TENANTCTL_FAULTS_KILLS: values.kills } : {}),
    ...(values.seed ? { TENANTCTL_FAULTS_SEED: values.seed } : {}),
    ...(values.all ? { TENANTCTL_FAULTS: 'all' } : {}),
  },
})
process.exitCode = status ?? 1
