import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const src = fileURLToPath(new URL('../src/', import.meta.url))

/** Leaves at the root of src that anyone in the library may import. */
const leaves = ['hostname', 'errors', 'events', 'naming', 'nearest', 'on-demand', 'turns']

/** Who may import whom: values only, `import type` is always allowed. CONTRIBUTING.md tells why. */
const allowed: Record<string, string[]> = {
  ...Object.fromEntries(leaves.map(leaf => [leaf, []])),
  secrets: [],
  // A configuration file may itself import 'tenantctl': lazily, or the cycle shows below.
  config: ['secrets', 'index'],
  postgres: ['secrets'],
  embedded: ['postgres'],
  registry: ['secrets', 'postgres', 'migrations'],
  migrations: ['postgres'],
  lint: ['migrations'],
  drift: ['postgres'],
  // Runs pg_dump and pg_restore; knows no tenant.
  dumps: ['postgres'],
  queue: ['registry'],
  // Files of seeds are read, loaded and run as those of migrations are.
  seeds: ['postgres', 'migrations'],
  provisioning: ['secrets', 'postgres', 'registry', 'migrations', 'seeds', 'dumps'],
  // Compares the registry with the servers, and mends by the means of provisioning.
  doctor: ['postgres', 'registry', 'migrations', 'provisioning'],
  fleet: ['registry'],
  connections: ['secrets', 'postgres', 'registry'],
  // Frameworks' middleware loads it without the rest.
  context: [],
  // Entries of their own: what they need of a tenancy, they are given.
  middleware: [],
  tenancy: [
    ...['config', 'secrets', 'postgres', 'embedded', 'registry', 'migrations', 'seeds', 'lint', 'drift', 'queue'],
    ...['provisioning', 'fleet', 'connections', 'context', 'dumps', 'doctor'],
  ],
  index: ['tenancy', 'config', 'secrets', 'embedded', 'context'],
  cli: ['index'],
  testing: ['index'],
}

/** Files that may take a secret out of its wrapping. */
const reveals = [
  'cli/commands/create.ts',
  'cli/commands/pgbouncer.ts',
  'cli/commands/psql.ts',
  'cli/commands/url.ts',
  'config/url.ts',
  'config/validate.ts',
  'postgres/address.ts',
  'postgres/connect.ts',
  'postgres/pgbouncer.ts',
  'postgres/libpq-environment.ts',
  'postgres/roles.ts',
  'postgres/scram.ts',
  'secrets/cipher.ts',
  'secrets/provider.ts',
  'testing/test-tenants.ts',
]

const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter(name => name.endsWith('.ts'))
  .map(name => ({ name, text: withoutComments(readFileSync(join(src, name), 'utf8')) }))

const imports = files.flatMap(({ name, text }) =>
  [...text.matchAll(/^(?:import|export)\s+(type\s)?[^'"]*?from\s+'(\.[^']+)'|\bimport\('(\.[^']+)'\)/gm)].map(match => {
    const to = relative(src, normalize(join(src, dirname(name), (match[2] ?? match[3]) as string)))
    return {
      name,
      to,
      from: folder(name),
      target: folder(to),
      type: match[1] !== undefined,
      lazy: match[3] !== undefined,
    }
  }),
)

const crossing = imports.filter(({ from, target, type }) => !type && from !== target)

describe('src', () => {
  test('holds only the folders that the table knows', () => {
    expect(files.map(({ name }) => folder(name)).filter(name => allowed[name] === undefined)).toEqual([])
  })

  test('imports as the table allows', () => {
    const wrong = crossing.filter(
      ({ from, target }) => ![...(from === 'cli' ? [] : leaves), ...(allowed[from] ?? [])].includes(target),
    )
    expect(wrong.map(({ name, to }) => `${name} imports ${to}`)).toEqual([])
  })

  test('has no cycles between folders', () => {
    const reaches = (from: string, goal: string, seen = new Set<string>()): boolean =>
      crossing.some(edge => {
        if (edge.lazy || edge.from !== from || seen.has(edge.target)) return false
        return edge.target === goal || reaches(edge.target, goal, seen.add(edge.target))
      })
    expect(Object.keys(allowed).filter(name => reaches(name, name))).toEqual([])
  })

  test('has one barrel, the public door', () => {
    const barrels = files.filter(
      ({ name, text }) => name !== 'index.ts' && /^export\s(type\s)?(\*|\{[^}]*\})[^'\n]*\sfrom\s'/m.test(text),
    )
    expect(barrels.map(({ name }) => name)).toEqual([])
    expect(files.filter(({ name }) => /\/index\.ts$/.test(name)).map(({ name }) => name)).toEqual([])
  })

  test('loads the library lazily in the command line', () => {
    const eager = crossing.filter(({ from, lazy }) => from === 'cli' && !lazy)
    expect(eager.map(({ name, to }) => `${name} imports ${to}`)).toEqual([])
  })

  test('is silent outside of the command line', () => {
    const said = found(/\bconsole\s*\.|\bprocess\.(env|exit|exitCode|stdout|stderr|stdin|argv)\b/g)
    expect(said.filter(hit => !hit.startsWith('src/cli/'))).toEqual([])
  })

  test('reveals secrets in few places', () => {
    const hits = found(/\.reveal\(\)/g)
    expect(hits.filter(hit => !reveals.some(file => hit.startsWith(`src/${file}:`)))).toEqual([])
  })

  // The registry installs its own schema, and no other.
  test('writes SQL that changes server objects in postgres/ and migrations/ alone', () => {
    // Advice in a hint is not sent to a server.
    const statement =
      /(?<!\bhint:[^\n]*)\b(CREATE|DROP|ALTER) (ROLE|USER|DATABASE|TABLE|SCHEMA|EXTENSION|INDEX|OWNED)\b|\b(GRANT|REVOKE) [^'`]* (ON|TO|FROM) /g
    // The linter's rules name statements and send none.
    expect(
      found(statement).filter(hit => !/^src\/(postgres\/|migrations\/|registry\/install\.ts|lint\/)/.test(hit)),
    ).toEqual([])
  })
})

describe('test', () => {
  // Files that share a worker load a helper once: its hooks would be those of the first file alone.
  test('registers hooks in its files, not when a helper is imported', () => {
    const test = fileURLToPath(new URL('./', import.meta.url))
    const helpers = readdirSync(test, { recursive: true, encoding: 'utf8' }).filter(
      name => name.endsWith('.ts') && !name.endsWith('.test.ts') && !name.includes('node_modules'),
    )
    const hook = /^(?:await )?(?:before|after)(?:Each|All)\(/m
    expect(helpers.filter(name => hook.test(readFileSync(join(test, name), 'utf8')))).toEqual([])
  })
})

function folder(name: string): string {
  return (name.split('/')[0] as string).replace(/\.ts$/, '')
}

function found(pattern: RegExp): string[] {
  return files.flatMap(({ name, text }) => [...text.matchAll(pattern)].map(([match]) => `src/${name}: ${match}`))
}

/** Good enough for our own code: block comments, and line comments that no string can hold. */
function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/ .*$/gm, '$1')
}
