import { Option } from 'commander'
import type { Job, JobFilter, JobState } from '../../index.ts'
import { defineCommand, examples } from '../command.ts'
import { positiveInteger } from '../options.ts'
import { formatTime } from '../output/format.ts'
import { clean } from '../output/sanitize.ts'
import { table } from '../output/table.ts'

const states: JobState[] = ['created', 'active', 'retry', 'completed', 'failed', 'cancelled']

type Input = { retry: string } | JobFilter

export default defineCommand<Input, Job[]>({
  configure(command) {
    command
      .argument('[tenant]', 'only those of one tenant, by slug or id')
      .addOption(new Option('--state <state>', 'only jobs in this state').choices(states))
      .option('--limit <n>', 'at most so many', positiveInteger, 50)
      .option('--retry <job>', 'queue a failed job anew')
    examples(command, ['tenantctl jobs', 'tenantctl jobs --state failed', 'tenantctl jobs --retry <id>'])
  },
  read(command) {
    const { state, limit, retry } = command.opts()
    if (retry !== undefined) return { retry }
    return { state, limit, tenant: command.processedArgs[0] as string | undefined }
  },
  async run(input, context) {
    const { queue } = await context.tenancy()
    return 'retry' in input ? [await queue.retry(input.retry)] : await queue.jobs(input)
  },
  arrayKey: 'jobs',
  async text(jobs, style) {
    if (jobs.length === 0) return ''
    const rows = jobs.map(job => [
      job.id,
      job.kind,
      style.bold(clean(job.tenant ?? job.run ?? '')),
      job.state,
      String(job.retries),
      formatTime(job.createdAt),
      clean(job.error?.message ?? ''),
    ])
    return await table(['JOB', 'KIND', 'TENANT OR RUN', 'STATE', 'RETRIES', 'QUEUED', 'ERROR'], rows, style)
  },
  hint: jobs =>
    jobs.length === 0
      ? 'no jobs; `tenantctl create <name> --queue` makes one, `tenantctl migrate --all --queue` too'
      : undefined,
})
