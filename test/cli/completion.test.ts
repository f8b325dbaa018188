import { execFileSync, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { complete } from '../../src/cli/commands/complete.ts'
import { completionScripts } from '../../src/cli/completion-scripts.ts'
import { runCli, tenant } from './fake.ts'

const slugs = async () => ['acme', 'globex']
const values = async (...words: string[]) => (await complete(words, slugs)).map(({ value }) => value)

describe('candidates', () => {
  test('are commands, and those of a group', async () => {
    const commands = await values('')
    expect(commands).toEqual(expect.arrayContaining(['create', 'migrate', 'embedded']))
    expect(commands).not.toContain('__complete')
    expect(await values('embedded', '')).toEqual(['status', 'start', 'stop', 'reset'])
    expect(await values('--json', '-c', 'x.ts', 'key', '')).toEqual(['generate', 'rotate', 'list'])
  })

  test('are flags of the command and global ones', async () => {
    const flags = await values('migrate', '--')
    expect(flags).toEqual(expect.arrayContaining(['--canary', '--all', '--json']))
    expect(await values('--')).not.toContain('--canary')
  })

  test('are the values of an option', async () => {
    expect(await values('list', '-o', '')).toEqual(['text', 'json', 'ndjson'])
    expect(await values('list', '--output=')).toEqual(['--output=text', '--output=json', '--output=ndjson'])
    expect(await values('list', '--sort', '')).toContain('size')
    expect(await values('list', '--label', '')).toEqual([])
  })

  test('are tenants where one can stand', async () => {
    expect(await values('show', '')).toEqual(['acme', 'globex'])
    expect(await values('show', 'acme', '')).toEqual([])
    expect(await values('migrate', 'acme', '--canary', '5%', '')).toEqual(['acme', 'globex'])
    expect(await values('psql', 'acme', '--', '')).toEqual([])
    expect(await values('create', '')).toEqual([])
    expect(await values('completion', '')).toEqual(['bash', 'zsh', 'fish'])
    expect(await values('runs', '')).toEqual(['show', 'wait', 'cancel'])
  })
})

describe('__complete', () => {
  test('prints what begins like the last word', async () => {
    const tenancy = { tenants: { list: async () => [tenant('acme'), tenant('globex')] } }
    expect((await runCli(['__complete', '--', 'show', 'ac'], { tenancy })).stdout).toBe('acme\n')
    expect((await runCli(['__complete', '--', 'stat'], { tenancy })).stdout).toMatch(/^status\t.+\n$/)
  })

  test('stays silent when nothing is configured, a server is down, or the words are nonsense', async () => {
    const fail = async () => {
      throw new Error('no server')
    }
    const silent = { stdout: '', stderr: '', exitCode: 0 }
    expect(await runCli(['__complete', '--', 'show', ''], { library: { effectiveSettings: fail } })).toMatchObject(
      silent,
    )
    expect(await runCli(['__complete', '--', 'show', ''], { tenancy: { tenants: { list: fail } } })).toMatchObject(
      silent,
    )
    expect(await runCli(['__complete', '--', 'nonsense', ''])).toMatchObject(silent)
  })

  test('does not start an embedded server', async () => {
    const library = {
      effectiveSettings: async () => ({
        settings: [
          { key: 'registry', value: 'embedded', source: 'default' },
          { key: 'embedded.directory', value: '/x', source: 'default' },
        ],
        file: null,
      }),
      embeddedServer: () => ({ status: async () => ({ state: 'stopped' }) }),
      createTenancy: () => {
        throw new Error('must not be called')
      },
    }
    expect((await runCli(['__complete', '--', 'show', ''], { library })).stdout).toBe('')
  })
})

const has = (shell: string) => spawnSync(shell, ['--version']).status === 0

describe('scripts', () => {
  test.each(['bash', 'zsh', 'fish'] as const)('%s is printed as it is', async shell => {
    const { stdout, exitCode } = await runCli(['completion', shell])
    expect(exitCode).toBe(0)
    expect(stdout).toBe(completionScripts[shell])
  })

  test('bash can read its own, and completes with it', () => {
    execFileSync('bash', ['-n'], { input: completionScripts.bash })
    const run = (line: string, answer: string) =>
      execFileSync('bash', ['--norc'], {
        encoding: 'utf8',
        input: `tenantctl() { printf '%s\\n' "$*" >&2; printf -- '${answer}'; }
${completionScripts.bash}
COMP_LINE='${line}' COMP_POINT=${line.length}
_tenantctl
printf '%s\\n' "\${COMPREPLY[@]}"`,
      })
    expect(run('tenantctl show a', 'acme\\tthe first\\nalpha\\n')).toBe('acme\nalpha\n')
    expect(run('tenantctl show ', 'acme\\n')).toBe('acme\n')
    expect(run('tenantctl list --output=j', '--output=json\\n')).toBe('json\n')
  })

  test.runIf(has('fish'))('fish completes with its own, and with files where there is nothing else', () => {
    const run = (line: string, answer: string) =>
      execFileSync(
        'fish',
        [
          '--no-config',
          '--command',
          `function tenantctl; printf '${answer}'; end
${completionScripts.fish}
complete -C '${line}'`,
        ],
        { encoding: 'utf8', cwd: fileURLToPath(new URL('.', import.meta.url)) },
      )
    expect(run('tenantctl show a', 'acme\\tthe first\\nalpha\\n')).toBe('acme\tthe first\nalpha\n')
    expect(run('tenantctl --config completion.te', '')).toBe('completion.test.ts\n')
  })
})
