import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { commandTable } from '../../src/cli/commands.ts'
import { runCli } from './fake.ts'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
const commandLines = Object.values(commandTable)
  .flat()
  .flatMap(entry => ('commands' in entry ? entry.commands.map(({ name }) => [entry.name, name]) : [[entry.name]]))

describe('help and version', () => {
  test.each([['--version'], ['-V'], ['list', '--version']])('%s %s prints the version', async (...args) => {
    expect(await runCli(args)).toMatchObject({ stdout: `${version}\n`, stderr: '', exitCode: 0 })
  })

  test.each(commandLines)('%s %s has help with an example', async (...words) => {
    const { stdout, stderr, exitCode } = await runCli([...words, '--help'])
    expect(stdout).toMatch(/Examples:\n {2}\$ .*tenantctl/)
    expect(stdout).toContain('--json')
    expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 })
  })

  test('`help create` is `create --help`', async () => {
    const [asked, flag] = [await runCli(['help', 'create']), await runCli(['create', '--help'])]
    expect(asked).toEqual(flag)
    expect(asked.stdout).toContain('--if-not-exists')
  })

  test('nothing at all prints the help', async () => {
    const { stdout, exitCode } = await runCli([])
    expect(stdout).toContain('Tenants:')
    expect(stdout).not.toContain('__complete')
    expect(exitCode).toBe(0)
  })

  test('is coloured on a terminal alone', async () => {
    expect((await runCli(['--help'])).stdout).not.toContain('\u001b')
    expect((await runCli(['--help'], { tty: true })).stdout).toContain('\u001b[1m')
    expect((await runCli(['--help'], { tty: true, env: { NO_COLOR: '1' } })).stdout).not.toContain('\u001b')
  })
})

describe('bad usage is 2', () => {
  test.each([
    [['lst'], "unknown command 'lst'", 'did you mean list?'],
    [['delete', 'acme'], "unknown command 'delete'", 'did you mean drop?'],
    [['help', 'lst'], "unknown command 'lst'", 'did you mean list?'],
    [['nope', '--help'], "unknown command 'nope'", 'tenantctl --help'],
    [['help', 'embedded', 'statu'], "unknown command 'statu'", 'did you mean status?'],
    [['list', '--limitt', '3'], "unknown option '--limitt'", 'did you mean --limit?'],
    [['show'], "missing required argument 'tenant'", 'tenantctl show --help'],
    [['show', 'acme', 'globex'], 'too many arguments', 'tenantctl show --help'],
    [['list', '--limit', 'many'], 'whole number', 'tenantctl list --help'],
    [['list', '--status', 'asleep'], 'Allowed choices are provisioning', ''],
    [['list', '-o', 'yaml'], 'Allowed choices are text, json, ndjson', ''],
    [['--quiet'], 'no command was given', 'tenantctl --help'],
    [['embedded'], 'needs one of its commands', 'status, start, stop, reset'],
    [['key', 'make'], "unknown command 'make'", 'tenantctl key --help'],
    [['create'], 'the name of the tenant is missing', ''],
    [['create', 'acme', '--file', 'x.csv'], '--file makes many tenants; a name is for one', ''],
    [['create', '--file', 'x.csv', '--show-url'], '--show-url is for one', ''],
    [['create', 'acme', '--label', 'plan'], 'Expected key=value', ''],
    [['migrate'], 'no tenants were selected', '--all'],
    [['migrate', 'acme', '--all'], 'exclude each other', ''],
    [['status', '--all', '--label', 'a=b'], 'exclude each other', ''],
    [['migrate', '--all', '--canary', '120%'], 'percentage', ''],
    [['migrate', '--all', '--lock-timeout', 'soon'], 'duration', ''],
    [['migrate', '--all', '--concurrency', '0'], 'at least 1', ''],
    [['seed', '--tenants-file', 'missing.txt'], 'cannot read missing.txt', ''],
    [['seed', '--tenants-file', '-'], 'the standard input names no tenant', ''],
    [['rollback', 'acme'], 'one of --to <migration>, --steps <n> and --run <id>', ''],
    [['rollback', 'acme', '--to', 'x', '--steps', '1'], 'one of --to <migration>, --steps <n> and --run <id>', ''],
    [['completion', 'powershell'], 'Allowed choices are bash, zsh, fish', ''],
  ])('%s', async (args, what, next) => {
    const text = await runCli(args)
    expect(text).toMatchObject({ stdout: '', exitCode: 2 })
    expect(text.stderr).toMatch(/^error: /)
    expect(text.stderr).toContain(what)
    expect(text.stderr).toContain(next)

    const json = await runCli(['--json', ...args.filter(word => word !== 'yaml' && word !== '-o')])
    if (json.exitCode === 2) expect(JSON.parse(json.stderr).error.code).toBe('USAGE')
  })

  test.each([[['lst', '--json']], [['lst', '-o', 'ndjson']], [['--output=json', 'lst']], [['-ojson', 'lst']]])(
    '%s is told in one line of JSON',
    async args => {
      const { stdout, stderr, exitCode } = await runCli(args)
      expect(JSON.parse(stderr)).toEqual({
        error: { code: 'USAGE', message: "unknown command 'lst'", hint: expect.stringContaining('did you mean list?') },
      })
      expect(stderr.split('\n')).toHaveLength(2)
      expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 2 })
    },
  )
})
