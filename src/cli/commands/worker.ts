import { defineCommand, examples } from '../command.ts'
import { positiveInteger } from '../options.ts'

export default defineCommand<{ concurrency: number }, { stopped: true }>({
  configure(command) {
    command.option('--concurrency <n>', 'jobs at once', positiveInteger, 2)
    examples(command, ['tenantctl worker --concurrency 4', 'tenantctl worker -o ndjson'])
  },
  read: command => ({ concurrency: command.opts().concurrency }),
  async run({ concurrency }, context) {
    const { queue } = await context.tenancy()
    await queue.work({ concurrency, ...context.runOptions })
    return { stopped: true }
  },
  // A worker is ended by a signal, and that is no failure: it has finished what it had begun.
  endsBySignal: true,
  text: (_, style) => style.dim('Stopped; what had been begun is finished.'),
})
