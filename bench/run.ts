/**
 * All benchmarks, one after the other: `npm run build && npm run bench`, or only those that are named, as in
 * `npm run bench startup connections`. Takes up to half an hour; let the machine do nothing else meanwhile. Each prints as
 * it goes; at the end comes the table of all figures, which bench/results.json holds as well.
 */
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import { type Figure, formatFigure, isMet } from './measure.ts'

const here = fileURLToPath(new URL('.', import.meta.url))
const jiti = fileURLToPath(new URL('../node_modules/.bin/jiti', import.meta.url))
const all = ['startup', 'create', 'pool', 'migrate', 'peers', 'connections', 'fleet-scale', 'scale']
const wanted = process.argv.slice(2)
const unknown = wanted.filter(name => !all.includes(name))
if (unknown.length > 0) throw new Error(`no such benchmark: ${unknown.join(', ')}; there are ${all.join(', ')}`)

const results: { benchmark: string; figures: Figure[] }[] = []
for (const benchmark of wanted.length > 0 ? wanted : all) {
  console.log(`\n# ${benchmark}`)
  const figures: Figure[] = []
  const code = await new Promise(resolve => {
    const child = spawn(process.execPath, [jiti, `${here}${benchmark}.ts`], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    child.on('message', figure => figures.push(figure as Figure))
    child.once('close', resolve)
  })
  results.push({ benchmark, figures })
  if (code !== 0) {
    console.error(`${benchmark} failed`)
    process.exitCode = 1
  }
}

const machine = {
  processors: `${cpus().length} x ${cpus()[0]?.model}`,
  memory: `${Math.round(totalmem() / 2 ** 30)} GB`,
  node: process.version,
}
const measured = results.map(({ benchmark, figures }) => ({
  benchmark,
  figures: figures.map(figure => ({ ...figure, met: isMet(figure) })),
}))
writeFileSync(`${here}results.json`, `${JSON.stringify({ at: new Date(), machine, measured }, undefined, 2)}\n`)

console.log(`\n${Object.values(machine).join(', ')}`)
for (const { benchmark, figures } of results) {
  console.log(`\n# ${benchmark}`)
  for (const figure of figures) console.log(formatFigure(figure))
}
