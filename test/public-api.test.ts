import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import * as api from '../src/index.ts'

/** Names can be added here; one that goes, or changes its meaning, breaks somebody's code. */
test('the values that the package exports', () => {
  expect(Object.keys(api).sort()).toMatchInlineSnapshot(`
    [
      "Secret",
      "TenancyError",
      "asTenancyError",
      "createTenancy",
      "currentConnection",
      "currentTenant",
      "defineConfig",
      "effectiveSettings",
      "embeddedServer",
      "errorCodes",
      "generateEncryptionKey",
      "isTenancyError",
      "loadConfig",
      "parseDuration",
      "resolveConfig",
    ]
  `)
})

const root = new URL('../', import.meta.url)
const { exports } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as {
  exports: Record<string, { types?: string }>
}

/**
 * What the compiler has written for users, one entry after the other: each exported name with its signature, without
 * comments and private members. `npm run docs` holds that all types which are mentioned are exported, so that nothing
 * of the surface is missing here.
 */
test.each(Object.keys(exports).filter(entry => entry !== './package.json'))('the surface of %s', async entry => {
  const file = exports[entry]?.types as string
  const surface = [...exportsOf(new URL(file, root))].sort(([a], [b]) => (a < b ? -1 : 1))
  expect(surface.length).toBeGreaterThan(0)
  const name = entry === '.' ? 'index' : entry.slice(2)
  await expect(`${surface.map(([, text]) => text).join('\n\n')}\n`).toMatchFileSnapshot(`public-api/${name}.txt`)
})

/** Exported names with the text of their declarations, those of other files included. */
function exportsOf(file: URL): Map<string, string> {
  const found = new Map<string, string>()
  for (const statement of statementsOf(file)) {
    const list = /^export (?:type )?\{([^}]*)\}(?: from '([^']+)')?/.exec(statement)
    if (list) {
      for (const item of (list[1] as string).split(',')) {
        const name = item.trim().replace(/^type /, '')
        // `export {}` makes a module of a file.
        if (name === '') continue
        const from = list[2] ?? sourceOf(file, name)
        const declaration = exportsOf(new URL(from.replace(/\.[jt]s$/, '.d.ts'), file)).get(name)
        if (declaration === undefined) throw new Error(`${file.pathname}: ${name} was not found`)
        found.set(name, declaration)
      }
      continue
    }
    const name = /^export (?:declare )?(?:abstract )?(?:class|interface|type|function|const) (\w+)/.exec(statement)?.[1]
    if (name) found.set(name, statement)
  }
  return found
}

/** Where a name comes from that is imported and exported in two statements. */
function sourceOf(file: URL, name: string): string {
  const imported = statementsOf(file).find(text => new RegExp(`^import [^']*\\b${name}\\b[^']*from`).test(text))
  return /from '([^']+)'/.exec(imported ?? '')?.[1] ?? ''
}

/** Top-level statements begin in the first column; so do the brackets that end them. */
function statementsOf(file: URL): string[] {
  const text = readFileSync(file, 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^ +(private |#).*\n/gm, '')
    .replace(/^\s*\n/gm, '')
  return text.split(/^(?=\w)/m).map(statement => statement.trim())
}

test('whoever installs the package has the types that its declarations name', () => {
  const text = (file: string) => readFileSync(new URL(file, root), 'utf8')
  const declarations = readdirSync(new URL('dist/', root), { recursive: true, encoding: 'utf8' })
  const named = declarations
    .filter(file => file.endsWith('.d.ts'))
    .flatMap(file => [...text(`dist/${file}`).matchAll(/(?:from |import\()['"]([^.'"][^'"]*)['"]/g)])
    .map(match => match[1] ?? '')
  const packages = [...new Set(named)].filter(name => !name.startsWith('node:'))
  expect(packages).toContain('knex')
  const { dependencies } = JSON.parse(text('package.json'))
  const untyped = packages.filter(name => {
    const { types, exports: entries = {} } = JSON.parse(text(`node_modules/${name}/package.json`))
    const own = types !== undefined || JSON.stringify(entries).includes('"types"')
    return !(own ? name in dependencies : `@types/${name}` in dependencies)
  })
  expect(untyped).toEqual([])
})
