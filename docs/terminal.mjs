// Records docs/terminal.svg: real commands on an embedded server of their own, drawn as they come out on a terminal.
// After `npm run build`: node docs/terminal.mjs
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'

const root = fileURLToPath(new URL('..', import.meta.url))
const bin = join(root, 'bin/tenantctl.js')
const folder = mkdtempSync(join(tmpdir(), 'tenantctl-terminal-'))

const newMigration = `ALTER TABLE issues ADD COLUMN due_on date;
-- migrate:down
ALTER TABLE issues DROP COLUMN due_on;
`

const painted = new RegExp(`(${'\u001b'}\\[\\d+m)`)

/** What is typed, and what is done unseen before it; of a quiet one the first line is kept. */
const scenes = [
  { type: ['create', 'acme'] },
  { type: ['create', "Zoë's Café", '--label', 'plan=pro'], quiet: true },
  { before: () => writeFileSync(join(folder, 'migrations/tenant/20260104_due_dates.sql'), newMigration) },
  { type: ['migrate', '--all', '--canary', '1'] },
  { type: ['list'] },
  { type: ['show', 'acm'] },
]

try {
  for (const name of ['migrations/tenant', 'seeders/tenant'])
    cpSync(join(root, name), join(folder, name), { recursive: true })
  writeFileSync(join(folder, 'tenantctl.config.json'), '{ "registry": "embedded" }\n')
  run(['embedded', 'start'])
  const lines = []
  for (const { before, type, quiet } of scenes) {
    before?.()
    if (!type) continue
    lines.push(
      `\u001b[32m$\u001b[39m tenantctl ${type.map(word => (word.includes(' ') ? `"${word}"` : word)).join(' ')}`,
    )
    const shown = run(type).split('\n')
    lines.push(...(quiet ? shown.slice(0, 1) : shown), '')
  }
  writeFileSync(join(root, 'docs/terminal.svg'), draw(lines.slice(0, -1)))
} finally {
  run(['embedded', 'reset', '--yes'])
  rmSync(folder, { recursive: true, force: true })
}

/** Standard output and error in the order in which a terminal would get them: the result, then the hint or error. */
function run(args) {
  const env = { ...process.env, FORCE_COLOR: '1', NO_COLOR: '' }
  const { stdout, stderr } = spawnSync(process.execPath, [bin, ...args], { cwd: folder, env, encoding: 'utf8' })
  const news = stderr.split('\n').filter(line => /hint:|error:/.test(line))
  return (stdout + news.join('\n')).trimEnd()
}

function draw(lines) {
  const [character, row, margin, top] = [8.4, 20, 20, 48]
  const plain = lines.map(line => stripVTControlCharacters(line))
  const width = Math.ceil(Math.max(...plain.map(line => line.length)) * character) + 2 * margin
  const height = top + lines.length * row + margin
  const dots = ['#ff5f57', '#febc2e', '#28c840'].map(
    (fill, n) => `<circle cx="${24 + n * 20}" cy="22" r="6" fill="${fill}"/>`,
  )
  const texts = lines.map(
    (line, n) => `<text y="${top + (n + 0.7) * row}">${spans(line, { margin, character })}</text>`,
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>tenantctl in a terminal: create, migrate, list</title>
<rect width="${width}" height="${height}" rx="8" fill="#1b1f27"/>
${dots.join('')}
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14" fill="#d7dae0">
${texts.join('\n')}
</g>
</svg>
`
}

/** One tspan for each run of one style, put where its column is whatever font there is. */
function spans(line, { margin, character }) {
  const style = { bold: false, dim: false, colour: '' }
  const colours = { 31: '#ff7b72', 32: '#7ee787', 33: '#e3b341', 36: '#79c0ff' }
  let column = 0
  let out = ''
  for (const part of line.split(painted)) {
    const code = Number(/\[(\d+)m/.exec(part)?.[1] ?? Number.NaN)
    if (code === 1) style.bold = true
    else if (code === 2) style.dim = true
    else if (code === 22) Object.assign(style, { bold: false, dim: false })
    else if (code === 39) style.colour = ''
    else if (code in colours) style.colour = colours[code]
    else if (part !== '') {
      const weight = style.bold ? ' font-weight="bold"' : ''
      const fill = style.colour ? ` fill="${style.colour}"` : style.dim ? ' fill="#8b949e"' : ''
      // Spaces at an end would be dropped, and the letters stretched to make up for them.
      for (const { 0: word, index } of part.matchAll(/\S+(?: \S+)*/g)) {
        const x = (margin + (column + index) * character).toFixed(1)
        const text = word.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
        out += `<tspan x="${x}" textLength="${(word.length * character).toFixed(1)}"${weight}${fill}>${text}</tspan>`
      }
      column += part.length
    }
  }
  return out
}
