import type { EmbeddedStatus, embeddedServer } from '../../index.ts'
import { type CommandModule, defineCommand, examples } from '../command.ts'
import type { CliContext } from '../context.ts'
import { embeddedDirectory } from '../embedded-directory.ts'
import { clean } from '../output/sanitize.ts'
import type { Style } from '../output/style.ts'
import { facts } from '../output/tenant.ts'
import { confirmByRetyping } from '../prompts.ts'

type Server = ReturnType<typeof embeddedServer>

export const status = serverCommand(['tenantctl embedded status'], server => server.status())

export const start = serverCommand(['tenantctl embedded start'], async (server, context) => {
  // It takes seconds the first time.
  context.reporter.event({ event: 'notice', message: 'starting the embedded PostgreSQL', verbose: true })
  // The URL that comes with it holds the superuser's password, which nobody asked for.
  await server.start()
  return await server.status()
})

export const stop = serverCommand(['tenantctl embedded stop'], server => server.stop())

export const reset = serverCommand(
  ['tenantctl embedded reset', 'tenantctl embedded reset --yes'],
  async (server, context) => {
    const { directory } = await server.status()
    const what = `deleting the embedded server in ${clean(directory)} with the registry and all tenants`
    await confirmByRetyping(context, { what, expected: 'reset' })
    await server.reset()
    return await server.status()
  },
)

function serverCommand(
  lines: readonly string[],
  act: (server: Server, context: CliContext) => Promise<EmbeddedStatus>,
): CommandModule<undefined, EmbeddedStatus> {
  return defineCommand({
    configure: command => examples(command, lines),
    read: () => undefined,
    async run(_input, context) {
      const { embeddedServer } = await context.library()
      return await act(embeddedServer(await embeddedDirectory(context)), context)
    },
    text: statusText,
  })
}

function statusText(status: EmbeddedStatus, style: Style): string {
  const mark = status.state === 'running' ? style.good('●') : style.dim('○')
  const address = status.port === null ? null : `${clean(status.host)}:${status.port}`
  const title = status.state === 'absent' ? 'absent: nothing has been made yet' : status.state
  return [
    `${mark} ${style.bold(title)}`,
    facts(
      [
        ['server', status.version && `PostgreSQL ${clean(status.version)}`],
        [status.state === 'running' ? 'listens on' : 'address', address],
        ['pid', status.pid === null ? null : String(status.pid)],
        ['folder', clean(status.directory)],
        ['data', status.dataDirectory && clean(status.dataDirectory)],
        ['log', status.logFile && clean(status.logFile)],
      ],
      style,
    ),
  ].join('\n')
}
