import { describe, expect, test } from 'vitest'
import { parseTenantRows } from '../../src/cli/tenant-rows.ts'
import { fleet, runCli } from './fake.ts'

const problems = async (text: string) =>
  await parseTenantRows(text, 'tenants.csv').then(
    () => [],
    (error: Error) => error.message.split('\n').slice(1),
  )

describe('CSV', () => {
  test('has a header, quotes, labels and empty cells', async () => {
    const text =
      '\uFEFFname,slug,server,label.plan,label.region\r\n"Ácme, Inc.",acme,,pro,\r\n\r\n"Two\nlines",,eu1,,eu\r\n'
    expect(await parseTenantRows(text, 'x')).toEqual([
      { name: 'Ácme, Inc.', slug: 'acme', labels: { plan: 'pro' } },
      { name: 'Two\nlines', server: 'eu1', labels: { region: 'eu' } },
    ])
  })

  test.each([
    ['name\nacme\n""\n', ['line 3: name is missing']],
    ['name,slug\nacme,a\nb\nc,d,e\n', ['line 3: 1 values for 2 columns', 'line 4: 3 values for 2 columns']],
    ['name,slug\nA,same\nB,same\n', ['line 3: slug "same" is on line 2 too']],
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
    expect(await parseTenantRows(text, 'x')).toEqual([
      { name: 'Acme', labels: { plan: 'pro' } },
      { name: 'Globex', database: 'g' },
    ])
  })

  test('reports every bad row by its line', async () => {
    const text = '{"name":"ok"}\n{"nme":"x"}\n{"name":5}\n{"name":"a","labels":{"n":1}}\n[1]\n{oops\n'
    expect(await problems(text)).toEqual([
      'line 5: expected an object',
      expect.stringMatching(/^line 6: not JSON/),
      'line 2: unknown key "nme"',
      'line 2: name is missing',
      'line 3: "name" must be text',
      'line 4: "labels" must be an object of texts',
    ])
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
  const { exitCode } = await runCli(args, { tenancy: { tenants: { createMany } }, stdin })
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
  const { stderr, exitCode } = await runCli(['create', '--file', '-'], { stdin: 'name\n""\n' })
  expect(stderr).toContain('error: the standard input cannot be used\n  line 2: name is missing\n')
  expect(exitCode).toBe(2)
})
