import { writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { InvalidArgumentError, Option } from 'commander'
import type { PgBouncerOptions, PgBouncerSetup } from '../../index.ts'
import { defineCommand, examples } from '../command.ts'

interface Input extends PgBouncerOptions {
  userlistFile: string | undefined
}

type Written = Omit<PgBouncerSetup, 'userlist'> & { userlistFile: string | null }

export const config = defineCommand<Input, Written>({
  configure(command) {
    command
      .option('--server <name>', 'whose tenants', 'default')
      .addOption(
        new Option('--auth-query', 'let PgBouncer ask the server for password verifiers (1.19 or later)').conflicts(
          'userlist',
        ),
      )
      .option('--listen <host:port>', 'where PgBouncer listens (default: 127.0.0.1:6432)', parseListen)
      .option('--userlist <file>', "also write the tenants' passwords to a new file, for auth_file")
    examples(command, [
      'tenantctl pgbouncer config --auth-query > /etc/pgbouncer/pgbouncer.ini',
      'tenantctl pgbouncer config --userlist userlist.txt > pgbouncer.ini',
    ])
  },
  read(command) {
    const { server, authQuery, listen, userlist } = command.opts()
    return { server, authQuery, listen, userlist: userlist !== undefined, userlistFile: userlist }
  },
  async run({ userlistFile, ...options }, context) {
    const { library, io } = context
    const { userlist, ...setup } = await (await context.tenancy()).pgbouncer(options)
    if (userlistFile === undefined || userlist === null) return { ...setup, userlistFile: null }
    const file = resolve(io.cwd, userlistFile)
    await writeFile(file, userlist.reveal(), { mode: 0o600, flag: 'wx' }).catch(
      async (error: NodeJS.ErrnoException) => {
        const { TenancyError } = await library()
        throw new TenancyError(
          error.code === 'EEXIST' ? 'FILE_EXISTS' : 'USAGE',
          `cannot write ${file}: ${error.message}`,
          { cause: error },
        )
      },
    )
    return { ...setup, userlistFile: file }
  },
  text({ ini, sql, sqlDatabase }) {
    if (sql === null) return ini.trimEnd()
    const comment = sql.trimEnd().replace(/^/gm, ';; ')
    const head = `;; Once, as a superuser in database "${sqlDatabase}" of the server:`
    const last = ';; Then \\password pgbouncer in psql, and the same password in auth_file: "pgbouncer" "…"'
    return [ini, head, comment, last].join('\n')
  },
  hint: ({ userlistFile }) => (userlistFile === null ? undefined : `${userlistFile} holds passwords in clear text`),
})

function parseListen(text: string): { host: string; port: number } {
  const [, host = '', port] = /^(.+):(\d{1,5})$/.exec(text) ?? []
  if (host !== '' && Number(port) >= 1 && Number(port) <= 65_535) return { host, port: Number(port) }
  throw new InvalidArgumentError('Expected host:port, such as 127.0.0.1:6432.')
}
