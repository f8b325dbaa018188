/** Nothing is dropped, rolled back or rotated that nobody agreed to: neither by a pipe nor by a race. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'
import { type BinOptions, hasTerminal, runBin, startBin } from '../support/process.ts'

// Who the admin is makes no difference before a statement is sent.
const namespace = useNamespace()
let tenancy: Tenancy

beforeAll(async () => {
  namespace.writeMigrations({ '001.sql': 'CREATE TABLE notes (a int)\n-- migrate:down\nDROP TABLE notes' })
  namespace.writeConfig()
  tenancy = namespace.track(createTenancy(namespace.config()))
  for (const name of ['acme', 'globex']) await tenancy.tenants.create({ name, labels: { plan: 'trial' } })
})

afterAll(() => tenancy.close())

const bin = (args: string[], options: BinOptions = {}) => runBin(args, { cwd: namespace.directory, ...options })

/** All that could be lost: databases, roles with their passwords, rows, applied migrations. */
async function everything() {
  const { databases, roles } = await namespace.leftovers()
  const passwords = await namespace.superSql(
    'SELECT rolpassword FROM pg_authid WHERE rolname = ANY($1) ORDER BY rolname',
    [roles],
  )
  const status = await tenancy.migrations.status({ all: true })
  return { databases, roles, passwords, tenants: status.tenants.map(({ tenant, applied }) => [tenant, applied]) }
}

const commands = [
  ['drop', 'acme'],
  ['drop', '--all'],
  ['rollback', '--all', '--steps', '1'],
  ['rotate-password', 'acme'],
]

describe.each(commands)('%s %s', (...words) => {
  const command = words.filter(word => word !== undefined)

  test.each<[string, BinOptions, string[]?]>([
    ['no input at all', {}],
    ['echo y |', { input: 'y\n' }],
    ['yes |', { input: 'y\n'.repeat(10_000) }],
    ['the very answer, in a pipe', { input: 'acme\n' }],
    ['the very count, in a pipe', { input: '2\n' }],
    ...(hasTerminal
      ? ([
          ['a terminal, in CI', { tty: true, env: { CI: 'true' }, input: 'acme\r' }],
          ['a terminal, with --no-input', { tty: true, input: 'acme\r' }, ['--no-input']],
        ] as [string, BinOptions, string[]?][])
      : []),
  ])('does nothing for %s', async (_what, options, extra = []) => {
    const before = await everything()
    const { exitCode, all } = await bin([...command, ...extra], options)
    expect(all).toContain('--yes')
    expect(exitCode).toBe(2)
    expect(await everything()).toEqual(before)
  })
})

test('nor does `yes |` confirm what is asked for outside of a selection', async () => {
  const { run } = await tenancy.migrations.run({ all: true }, { verify: true })
  const { database } = await tenancy.tenants.get('acme')
  const kept = namespace.writeFile('embedded/.tenantctl/kept', '')
  const before = await everything()
  for (const [command, cwd] of [
    [['rollback', '--run', run ?? '']],
    [['doctor', '--fix', '--drop-orphan', database]],
    [['embedded', 'reset'], join(namespace.directory, 'embedded')],
  ] as [string[], string?][]) {
    const { exitCode, all } = await bin(command, { input: 'reset\n0\ny\n', ...(cwd ? { cwd } : {}) })
    expect([command, exitCode, all]).toEqual([command, 2, expect.stringContaining('--yes')])
  }
  expect(await everything()).toEqual(before)
  expect(existsSync(kept)).toBe(true)
})

test('--yes is no selection', async () => {
  for (const command of [
    ['drop', '--yes'],
    ['drop', '-y', '--force'],
    ['drop', '--yes', '--tenants-file', '-'],
    ['rollback', '--yes', '--steps', '1'],
  ]) {
    expect((await bin(command)).exitCode).toBe(2)
  }
  expect((await bin(['drop', '--yes', 'acme', 'no-such'])).exitCode).toBe(3)
  expect((await tenancy.tenants.list()).map(each => each.slug)).toEqual(['acme', 'globex'])
})

describe.runIf(hasTerminal)('on a terminal', () => {
  test.each<[string, string[], RegExp, string, number]>([
    ['another name', ['drop', 'acme'], /Type acme/, 'globex\r', 2],
    ['only a yes', ['drop', 'acme'], /Type acme/, 'y\r', 2],
    ['nothing', ['drop', 'acme'], /Type acme/, '\r', 2],
    ['the name in capitals', ['drop', 'acme'], /Type acme/, 'ACME\r', 2],
    ['a name where the count is asked for', ['drop', '--all'], /Type 2/, 'acme\r', 2],
    ['another count', ['drop', '--all'], /Type 2/, '3\r', 2],
    ['Ctrl-C', ['drop', 'acme'], /Type acme/, '\u0003', 130],
    ['Ctrl-D', ['drop', 'acme'], /Type acme/, '\u0004', 130],
  ])('%s does nothing', async (_what, command, prompt, keys, code) => {
    const { exitCode, stdout } = await bin(command, { tty: true, answers: [[prompt, keys]] })
    expect(exitCode).toBe(code)
    // The same names may be in another registry, which is the one that was meant.
    const { host, pathname } = new URL(namespace.registryUrl)
    expect(stripVTControlCharacters(stdout).replaceAll(/\s+/g, '')).toContain(`@${host}${pathname}`)
    expect((await tenancy.tenants.list()).map(each => each.slug)).toEqual(['acme', 'globex'])
  })

  test.each<[string, string[]]>([
    ['drop', ['drop', '--label', 'plan=trial']],
    ['rollback', ['rollback', '--label', 'plan=trial', '--steps', '1']],
    ['rotate-password', ['rotate-password', '--label', 'plan=trial']],
  ])('%s of others than were shown is refused: more of them, or as many', async (_what, command) => {
    const race = async (meanwhile: () => Promise<unknown>) => {
      const running = startBin(command, { cwd: namespace.directory, tty: true, answers: [] })
      await running.waitFor(/Type 2/)
      await meanwhile()
      const before = await everything()
      running.type('2\r')
      const { exitCode, stdout } = await running.done
      expect(stdout).toMatch(/confirmed/)
      expect(exitCode).toBe(4)
      expect(await everything()).toEqual(before)
    }
    await race(() => tenancy.tenants.create({ name: 'late', labels: { plan: 'trial' } }))
    await tenancy.tenants.drop({ tenants: ['late'] })
    // Two were confirmed and two match: but one of them is another.
    await race(async () => {
      await tenancy.tenants.create({ name: 'late', labels: { plan: 'trial' } })
      await tenancy.tenants.drop({ tenants: ['globex'] })
    })
    await tenancy.tenants.drop({ tenants: ['late'] })
    await tenancy.tenants.create({ name: 'globex', labels: { plan: 'trial' } })
  })

  test('a protected tenant is not dropped, whatever is typed', async () => {
    await tenancy.tenants.protect({ tenants: ['acme'] })
    const before = await everything()
    for (const command of [
      ['drop', 'acme', '--yes', '--force'],
      ['drop', 'acme', '--yes', '--retain', '1d'],
      ['drop', '--all', '--yes'],
    ]) {
      if (command.includes('--all')) await tenancy.tenants.protect({ all: true })
      const { exitCode, stdout, stderr } = await bin([...command, '--json'])
      expect(`${stdout}${stderr}`).toContain('TENANT_PROTECTED')
      expect([4, 5]).toContain(exitCode)
    }
    expect(await everything()).toEqual(before)
    await tenancy.tenants.unprotect({ all: true })
  })

  test('the right answer drops it', async () => {
    const { exitCode } = await bin(['drop', 'globex'], { tty: true, answers: [[/Type globex/, 'globex\r']] })
    expect(exitCode).toBe(0)
    expect((await tenancy.tenants.list()).map(each => each.slug)).toEqual(['acme'])
  })
})
