/**
 * All benchmarks, one after the other: `npm run build && npm run bench`. Takes some minutes; let the machine do nothing
 * else meanwhile. What they print goes to bench/results.txt as well.
 */
import { spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const jiti = fileURLToPath(new URL('../node_modules/.bin/jiti', import.meta.url))
const results = createWriteStream(`${here}results.txt`)

for (const name of ['startup', 'create', 'migrate', 'connections']) {
  const title = `\n# ${name}\n`
  process.stdout.write(title)
  results.write(title)
  const code = await new Promise(resolve => {
    const child = spawn(process.execPath, ['--expose-gc', jiti, `${here}${name}.ts`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    child.stdout.on('data', chunk => {
      process.stdout.write(chunk)
      results.write(chunk)
    })
    child.once('close', resolve)
  })
  if (code !== 0) process.exitCode = 1
}
results.end()
