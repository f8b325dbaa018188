import { readdirSync } from 'node:fs'
import { describe, expect, inject, test } from 'vitest'
import { sql, sqlError, tryLogin, urlWith } from './client.ts'
import { useNamespace } from './namespace.ts'
import { hasTerminal, runBin, startBin } from './process.ts'
import { binariesOf, installedBinaries, startServer } from './servers.ts'

const namespace = useNamespace()

describe('the server of the run', () => {
  test('is of the version that was asked for', async () => {
    const [row] = await namespace.superSql<{ num: number }>("SELECT current_setting('server_version_num')::int AS num")
    expect(Math.floor((row?.num ?? 0) / 10_000)).toBe(inject('server').major)
  })

  test('is administered by a role without superuser', async () => {
    const [row] = await namespace.sql(
      'SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user',
    )
    expect(row).toEqual({ rolsuper: false, rolcreatedb: true, rolcreaterole: true })
  })

  test('a refused login is an answer', async () => {
    expect(await tryLogin(namespace.adminUrl)).toMatchObject({ ok: true, database: 'postgres' })
    expect(await tryLogin(urlWith(namespace.adminUrl, { password: 'wrong' }))).toMatchObject({
      ok: false,
      code: '28P01',
    })
    expect(await sqlError(namespace.adminUrl, 'SELECT pg_read_file($1)', ['/etc/passwd'])).toMatchObject({
      code: '42501',
    })
  })
})

describe('a namespace', () => {
  test('knows what was made in it', async () => {
    await namespace.sql(`CREATE DATABASE ${namespace.tenantPrefix}acme`)
    await namespace.sql(`CREATE ROLE ${namespace.tenantPrefix}acme LOGIN`)
    const name = `${namespace.tenantPrefix}acme`
    expect(await namespace.leftovers()).toEqual({ databases: [name], roles: [name] })
  })

  test('replaces folders', () => {
    namespace.writeMigrations({ '001_a.sql': 'SELECT 1', '002_b.sql': 'SELECT 2' })
    namespace.writeMigrations({ '003_c.sql': 'SELECT 3' })
    expect(readdirSync(namespace.migrationsDirectory)).toEqual(['003_c.sql'])
  })
})

describe('a process', () => {
  const file = (text: string) => ({ file: namespace.writeFile('program.mjs', text) })

  test('gets arguments and input, and a clean environment', async () => {
    process.env.PGHOST = 'leaks'
    const program = file(`
      let input = ''; for await (const chunk of process.stdin) input += chunk
      console.log(JSON.stringify([process.argv.slice(2), input, process.env.PGHOST ?? null, process.env.CI ?? null, process.env.A]))
      console.error('err'); process.exitCode = 3`)
    const result = await runBin(['a b', "c'd"], { ...program, input: 'hello', env: { A: 'x' } })
    delete process.env.PGHOST
    expect(result).toMatchObject({ stdout: '[["a b","c\'d"],"hello",null,null,"x"]\n', stderr: 'err\n', exitCode: 3 })
  })

  test.runIf(hasTerminal)('can have a terminal, and answers', async () => {
    const program = file(`
      import { createInterface } from 'node:readline/promises'
      const { stdin: input, stdout: output } = process
      const line = createInterface({ input, output })
      const [name, age] = [await line.question('name? '), await line.question('age? ')]
      console.log([input.isTTY, output.isTTY, process.stderr.isTTY, name, age].join(' '), process.argv[2]); process.exit(7)`)
    const result = await runBin(["it's"], {
      ...program,
      tty: true,
      answers: [
        [/name\? /, 'Ada\r'],
        [/age\? /, '36\r'],
      ],
    })
    expect(result.stdout).toContain("true true true Ada 36 it's")
    expect(result.exitCode).toBe(7)
  })

  test('can be killed when it has written something', async () => {
    const program = file(`console.log('one'); setTimeout(() => {}, 60_000)`)
    const running = startBin([], { ...program, kill: { when: /one/, signal: 'SIGKILL' } })
    expect(await running.done).toMatchObject({ signal: 'SIGKILL', exitCode: undefined, stdout: 'one\n' })
    await expect(running.waitFor(/two/)).rejects.toThrow('ended before')
  })
})

describe("a server of one's own", () => {
  test('survives a crash', async () => {
    const server = await startServer({ ...installedBinaries().at(-1), settings: { max_connections: 20 } })
    try {
      await sql(server.superUrl, 'CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)')
      await server.stop('immediate')
      expect(await tryLogin(server.superUrl)).toMatchObject({ ok: false, code: 'ECONNREFUSED' })
      await server.start()
      expect(
        await sql(server.superUrl, 'SELECT count(*)::int, current_setting($1) AS max FROM kept', ['max_connections']),
      ).toEqual([{ count: 1, max: '20' }])
    } finally {
      await server.remove()
    }
  })

  test('is not there for a version that is not installed', () => {
    expect(binariesOf(7)).toBeUndefined()
  })
})
