import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { defineCommand, examples } from '../command.ts'
import type { CliContext } from '../context.ts'
import { CliError } from '../errors.ts'
import { type LoginRole, readRole, roleOption } from '../options.ts'

export default defineCommand<{ tenant: string; args: string[]; role: LoginRole }, number>({
  configure(command) {
    command.argument('<tenant>', 'slug or id').argument('[args...]', 'arguments for psql, after --')
    roleOption(command)
    examples(command, ['tenantctl psql acme', 'tenantctl psql acme -- -c "select count(*) from users"'])
  },
  read: command => ({
    tenant: command.processedArgs[0] as string,
    args: command.processedArgs[1] as string[],
    role: readRole(command),
  }),
  async run({ tenant, args, role }, context) {
    const { tenants } = await context.tenancy()
    const { slug, status } = await tenants.get(tenant)
    if (status === 'suspended') {
      const hint = `tenantctl resume ${slug}`
      throw new CliError('TENANT_SUSPENDED', `tenant "${slug}" is suspended: nobody can log in`, { hint })
    }
    const login = await tenants.connectionInfo(tenant, { role })
    // Our own connections must not stay open for as long as someone sits in psql.
    await context.close()
    context.reporter.pause()
    const env = {
      ...context.io.env,
      PGHOST: login.host,
      PGPORT: String(login.port),
      PGDATABASE: login.database,
      PGUSER: login.username,
      // The environment, since arguments can be read by everyone on the machine.
      PGPASSWORD: login.password.reveal(),
      PGSSLMODE: login.sslmode,
      // Without a file of authorities, verify-full means the system's: libpq has to be told so (from 16 on).
      PGSSLROOTCERT: login.sslrootcert ?? (login.sslmode === 'verify-full' ? 'system' : undefined),
      PGSSLCERT: login.sslcert,
      PGSSLKEY: login.sslkey,
      // libpq lets a service, or a host's address, win over the variables above.
      PGSERVICE: undefined,
      PGHOSTADDR: undefined,
    }
    return await context.leaveSignalsToChild(() => run(args, env, context))
  },
  text: () => '',
  json: () => undefined,
  exitCode: code => code,
})

/** psql's exit code; 128 + n when a signal ended it, as a shell would say. */
function run(args: readonly string[], env: Record<string, string | undefined>, context: CliContext): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn('psql', args, { env, cwd: context.io.cwd, stdio: 'inherit' })
    // Ctrl-C reaches psql from the terminal; a SIGTERM is sent to us alone.
    const forward = (): void => void child.kill('SIGTERM')
    context.io.signals?.on('SIGTERM', forward)
    const finish = (): void => void context.io.signals?.off('SIGTERM', forward)
    child.once('error', cause => {
      finish()
      reject(
        new CliError('TOOL_MISSING', 'psql could not be started', {
          cause,
          hint: "install PostgreSQL's client programs (postgresql-client), or use `tenantctl url` with another client",
        }),
      )
    })
    child.once('exit', (code, signal) => {
      finish()
      resolve(code ?? 128 + (signal ? constants.signals[signal] : 0))
    })
  })
}
