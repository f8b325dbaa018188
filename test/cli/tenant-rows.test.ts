import { describe, expect, test } from 'vitest'
import { parseTenantRows, refuseBadRows } from '../../src/cli/tenant-rows.ts'
import { createTenancy, type InputProblem } from '../../src/index.ts'
import { checkInputs } from '../../src/tenancy/create-many.ts'
import { fleet, runCli } from './fake.ts'

const problems = async (text: string, judged: InputProblem[] = []) => {
  const file = await parseTenantRows(text, 'tenants.csv')
  try {
    refuseBadRows(file, judged)
    return []
  } catch (error) {
    return (error as Error).message.split('\n').slice(1)
  }
}
const rowsOf = async (text: string) => (await parseTenantRows(text, 'x')).rows.map(({ row }) => row)

describe('CSV', () => {
  test('has a header, quotes, labels and empty cells', async () => {
    const text =
      '\uFEFFname,slug,server,label.plan,label.region\r\n"Ácme, Inc.",acme,,pro,\r\n\r\n"Two\nlines",,eu1,,eu\r\n'
    expect(await rowsOf(text)).toEqual([
      { name: 'Ácme, Inc.', slug: 'acme', labels: { plan: 'pro' } },
      { name: 'Two\nlines', server: 'eu1', labels: { region: 'eu' } },
    ])
  })

  test.each([
    ['name\nacme\n""\n', ['line 3: name is missing']],
    ['name,slug\nacme,a\nb\nc,d,e\n', ['line 3: 1 value for 2 columns', 'line 4: 3 values for 2 columns']],
    [
      'slug,nmae,label.\n',
      ['line 1: the header has no column "name"', 'line 1: unknown column "nmae"', 'line 1: unknown column "label."'],
    ],
    ['name,name\na,b\n', ['line 1: column "name" is there twice', 'line 1: column "name" is there twice']],
  ])('%j', async (text, expected) => {
    expect(await problems(text)).toEqual(expected)
  })

  test('that is cut off inside quotes says where', async () => {
    expect((await problems('name\nacme\n"glo\n')).join()).toMatch(/line/i)
  })

  test.each(['', 'name\n', '\n\n'])('%j holds no tenants', async text => {
    await expect(parseTenantRows(text, 'x')).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      message: 'x holds no tenants',
    })
  })
})

describe('ndjson', () => {
  test('has the same keys, labels as an object', async () => {
    const text = '{"name":"Acme","labels":{"plan":"pro"}}\n\n{"name":"Globex","database":"g"}\n'
    expect(await rowsOf(text)).toEqual([
      { name: 'Acme', labels: { plan: 'pro' } },
      { name: 'Globex', database: 'g' },
    ])
  })

  test('reports every bad row by its line', async () => {
    const text = '{"name":"ok"}\n{"nme":"x"}\n{"name":5}\n{"name":"a","labels":{"n":1}}\n[1]\n{oops\n'
    expect(await problems(text)).toEqual([
      'line 2: unknown key "nme"',
      'line 2: name is missing',
      'line 3: "name" must be text',
      'line 4: "labels" must be an object of texts',
      'line 5: expected an object',
      expect.stringMatching(/^line 6: not JSON/),
    ])
  })
})

describe('what the library refuses', () => {
  const naming = { prefix: 'tenant_', reserved: [] }

  test('is told by line too, in one list with the rest', async () => {
    const text = 'name,slug\nDup One,\n,\ndup one,\nTwo,Bad Slug\npostgres,\n\n🚀,x\nEu,\n'
    const { rows } = await parseTenantRows(text, 'x')
    const inputs = rows.map(({ row }) => (row.name === 'Eu' ? { ...row, server: 'eu1' } : row))
    const { problems: judged } = await checkInputs({ naming, servers: {} }, inputs)
    expect(await problems(text, judged)).toEqual([
      'line 3: name is missing',
      'line 4: the slug "dup-one" is that of an earlier one (line 2)',
      expect.stringMatching(/^line 5: "Bad Slug" is not a slug/),
      'line 6: the slug "postgres" is reserved',
      'line 9: no server "eu1" is configured',
    ])
  })

  test('of a program is told by index, before a server is asked', async () => {
    const tenancy = createTenancy({ registry: { url: 'postgresql://nobody@127.0.0.1:1/x' } })
    await expect(tenancy.tenants.createMany([{ name: 'Acme' }, { name: 'acme' }, { name: ' ' }])).rejects.toMatchObject(
      {
        code: 'INPUT_INVALID',
        message: [
          'some tenants cannot be made',
          'input 1: the slug "acme" is that of an earlier one',
          'input 2: the name is empty',
        ].join('\n'),
      },
    )
    await tenancy.close()
  })
})

test('create --file hands all rows on, with the options for each', async () => {
  const calls: unknown[] = []
  const createMany = async (inputs: unknown) => {
    calls.push(inputs)
    return fleet('create', [{ tenant: 'acme', status: 'created' }])
  }
  const args = ['create', '--file', '-', '--label', 'plan=free', '--label', 'src=csv', '--no-seed', '--if-not-exists']
  const stdin = 'name,label.plan\nAcme,pro\nGlobex,\n'
  const { exitCode } = await runCli(args, { tenancy: { tenants: { createMany, checkInputs: async () => [] } }, stdin })
  const common = { seed: false, ifNotExists: true }
  expect(exitCode).toBe(0)
  expect(calls).toEqual([
    [
      { ...common, name: 'Acme', labels: { plan: 'pro', src: 'csv' } },
      { ...common, name: 'Globex', labels: { plan: 'free', src: 'csv' } },
    ],
  ])
})

test('bad rows are an error before anything is made', async () => {
  const tenancy = { tenants: { checkInputs: async () => [{ index: 0, message: 'the slug "x" is reserved' }] } }
  const { stderr, exitCode } = await runCli(['create', '--file', '-'], { tenancy, stdin: 'name\n""\nx\n' })
  expect(stderr).toContain(
    'error: the standard input cannot be used\n  line 2: name is missing\n  line 3: the slug "x" is reserved\n',
  )
  expect(exitCode).toBe(2)
})

test('what failed is told by line as well', async () => {
  const error = { code: 'TENANT_EXISTS' as const, message: 'there is a tenant "globex" already' }
  const createMany = async () =>
    fleet('create', [
      { tenant: 'acme', status: 'created' },
      { tenant: 'globex', status: 'failed', error },
    ])
  const tenancy = { tenants: { createMany, checkInputs: async () => [] } }
  const stdin = '{"name":"Acme"}\n\n{"name":"Globex"}\n'
  const { stdout, stderr } = await runCli(['create', '--file', '-'], { tenancy, stdin })
  expect(stdout).toContain('✗ line 3  globex  there is a tenant "globex" already\n')
  expect(stderr).toContain('--if-not-exists')
  const json = await runCli(['create', '--file', '-', '--json'], { tenancy, stdin })
  expect(JSON.parse(json.stdout).tenants).toMatchObject([{ line: 1 }, { line: 3 }])
})
