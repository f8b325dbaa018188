import type { AnyCommand } from './command.ts'

export interface CommandEntry {
  name: string
  summary: string
  load: () => Promise<AnyCommand>
  hidden?: true
}

export interface CommandGroup {
  name: string
  summary: string
  commands: readonly CommandEntry[]
}

/** The table of all commands. Only the one asked for is imported; a new one is a line here and a file. */
export const commandTable: Record<string, readonly (CommandEntry | CommandGroup)[]> = {
  'Tenants:': [
    {
      name: 'create',
      summary: 'make a tenant: database, role, schema, seeds',
      load: () => only(import('./commands/create.ts')),
    },
    { name: 'list', summary: 'list tenants', load: () => only(import('./commands/list.ts')) },
    { name: 'show', summary: 'all about one tenant', load: () => only(import('./commands/show.ts')) },
    { name: 'drop', summary: 'remove tenants with their data', load: () => only(import('./commands/drop.ts')) },
    {
      name: 'undrop',
      summary: 'bring back a dropped tenant that is kept',
      load: () => only(import('./commands/undrop.ts')),
    },
    {
      name: 'purge',
      summary: 'remove dropped tenants whose time is over',
      load: () => only(import('./commands/purge.ts')),
    },
    {
      name: 'suspend',
      summary: 'shut tenants out: no logins, data kept',
      load: async () => (await import('./commands/suspend.ts')).suspend,
    },
    {
      name: 'resume',
      summary: 'let suspended tenants in again',
      load: async () => (await import('./commands/suspend.ts')).resume,
    },
    {
      name: 'protect',
      summary: 'protect tenants against being dropped',
      load: async () => (await import('./commands/protect.ts')).protect,
    },
    {
      name: 'unprotect',
      summary: 'end that protection',
      load: async () => (await import('./commands/protect.ts')).unprotect,
    },
    {
      name: 'rotate-password',
      summary: 'give tenants new passwords',
      load: () => only(import('./commands/rotate-password.ts')),
    },
    { name: 'restore', summary: 'make a tenant of a dump', load: () => only(import('./commands/restore.ts')) },
    {
      name: 'url',
      summary: 'print the connection URL of a tenant, with password',
      load: () => only(import('./commands/url.ts')),
    },
    { name: 'psql', summary: 'open psql as a tenant', load: () => only(import('./commands/psql.ts')) },
    {
      name: 'doctor',
      summary: 'check every server against the registry',
      load: () => only(import('./commands/doctor.ts')),
    },
    {
      name: 'repair',
      summary: 'finish or undo whatever a crash left half-done',
      load: () => only(import('./commands/repair.ts')),
    },
    {
      name: 'worker',
      summary: 'make the tenants that were queued, until a signal comes',
      load: () => only(import('./commands/worker.ts')),
    },
    { name: 'jobs', summary: 'the queue of background work', load: () => only(import('./commands/jobs.ts')) },
    {
      name: 'pool',
      summary: 'a stock of ready tenants, for create to take from',
      commands: [
        {
          name: 'fill',
          summary: 'make what is missing, remove what is stale',
          load: async () => (await import('./commands/pool.ts')).fill,
        },
        {
          name: 'status',
          summary: 'what is in stock on each server',
          load: async () => (await import('./commands/pool.ts')).status,
        },
      ],
    },
    {
      name: 'operations',
      summary: 'the audit trail, newest first',
      load: () => only(import('./commands/operations.ts')),
    },
    {
      name: 'domain',
      summary: "domains of the tenants' own",
      commands: [
        {
          name: 'add',
          summary: 'give a tenant a domain',
          load: async () => (await import('./commands/domain.ts')).add,
        },
        {
          name: 'remove',
          summary: 'take a domain away',
          load: async () => (await import('./commands/domain.ts')).remove,
        },
        {
          name: 'list',
          summary: 'the domains there are',
          load: async () => (await import('./commands/domain.ts')).list,
        },
      ],
    },
  ],
  'Schema and data:': [
    { name: 'migrate', summary: 'apply pending migrations', load: () => only(import('./commands/migrate.ts')) },
    {
      name: 'baseline',
      summary: 'record migrations as applied without running them',
      load: () => only(import('./commands/baseline.ts')),
    },
    { name: 'rollback', summary: 'undo migrations', load: () => only(import('./commands/rollback.ts')) },
    {
      name: 'plan',
      summary: 'write down what migrate would do, for review',
      load: () => only(import('./commands/plan.ts')),
    },
    {
      name: 'status',
      summary: 'applied and pending migrations per tenant',
      load: () => only(import('./commands/status.ts')),
    },
    {
      name: 'lint',
      summary: 'what in new migrations is dangerous on live tables',
      load: () => only(import('./commands/lint.ts')),
    },
    {
      name: 'drift',
      summary: 'whether the schemas of tenants are alike',
      load: () => only(import('./commands/drift.ts')),
    },
    { name: 'seed', summary: 'run the seed files', load: () => only(import('./commands/seed.ts')) },
    {
      name: 'runs',
      summary: 'the ledger of commands over many tenants',
      load: () => only(import('./commands/runs.ts')),
    },
  ],
  'Set-up:': [
    {
      name: 'init',
      summary: 'start a project: configuration, folders, registry',
      load: () => only(import('./commands/init.ts')),
    },
    {
      name: 'config',
      summary: 'effective settings and where each comes from',
      load: () => only(import('./commands/config.ts')),
    },
    {
      name: 'embedded',
      summary: 'the embedded PostgreSQL server of this project',
      commands: [
        {
          name: 'status',
          summary: 'whether it runs, and where',
          load: async () => (await import('./commands/embedded.ts')).status,
        },
        { name: 'start', summary: 'start it', load: async () => (await import('./commands/embedded.ts')).start },
        {
          name: 'stop',
          summary: 'stop it; the data stays',
          load: async () => (await import('./commands/embedded.ts')).stop,
        },
        {
          name: 'reset',
          summary: 'stop it and delete all of its data',
          load: async () => (await import('./commands/embedded.ts')).reset,
        },
      ],
    },
    {
      name: 'pgbouncer',
      summary: 'a connection pooler in front of the servers',
      commands: [
        {
          name: 'config',
          summary: 'print its set-up for the whole fleet',
          load: async () => (await import('./commands/pgbouncer.ts')).config,
        },
      ],
    },
    {
      name: 'key',
      summary: 'encryption keys',
      commands: [
        {
          name: 'generate',
          summary: 'print a new encryption key',
          load: async () => (await import('./commands/key.ts')).generate,
        },
        {
          name: 'rotate',
          summary: 'encrypt all stored passwords with the first key',
          load: async () => (await import('./commands/key.ts')).rotate,
        },
        {
          name: 'list',
          summary: 'the keys in use',
          load: async () => (await import('./commands/key.ts')).list,
        },
      ],
    },
    {
      name: 'completion',
      summary: 'completion script for a shell',
      load: () => only(import('./commands/completion.ts')),
    },
    {
      name: '__complete',
      summary: 'candidates for a completion script',
      hidden: true,
      load: () => only(import('./commands/complete.ts')),
    },
  ],
}

async function only(module: Promise<{ default: AnyCommand }>): Promise<AnyCommand> {
  return (await module).default
}
