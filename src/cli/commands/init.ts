import { relative, resolve } from 'node:path'
import { defineCommand, examples } from '../command.ts'
import type { CliContext } from '../context.ts'
import { CliError } from '../errors.ts'
import { configFileText } from '../init/config-template.ts'
import { type PlannedFile, planStarterFiles, writeFiles } from '../init/starter-files.ts'
import { clean } from '../output/sanitize.ts'
import { askHidden, choose } from '../prompts.ts'

interface Result {
  directory: string
  registry: string
  created: string[]
  overwritten: string[]
  /** Whether there is a key already, which must not be replaced by another. */
  encryptionKey: boolean
  /** Folders that hold files already: examples would only mix with them. */
  kept: string[]
}

export default defineCommand<{ force: boolean }, Result>({
  configure(command) {
    command.option('--force', 'overwrite files that exist')
    examples(command, [
      'tenantctl init --embedded',
      'TENANTCTL_REGISTRY_URL=postgresql://admin:…@db.example.com:5432 tenantctl init',
    ])
  },
  read: command => ({ force: Boolean(command.opts().force) }),
  async run({ force }, context) {
    const { io, options } = context
    const folders = {
      migrations: options.flags.migrations ?? 'migrations/tenant',
      seeds: options.flags.seeds ?? 'seeders/tenant',
    }
    const starters = await planStarterFiles(io.cwd, folders)
    const configFile = resolve(io.cwd, 'tenantctl.config.ts')
    const { existing } = await writeFiles([...starters.files, { target: configFile, text: '' }], { dryRun: true })
    if (existing.length > 0 && !force) throw filesExist(existing, io.cwd)

    const registry = await chooseRegistry(context)
    // Before any file is written: a wrong URL must not leave a project that only --force can start again.
    await (await context.tenancy()).registry.install()

    const planned: PlannedFile[] = [{ target: configFile, text: configFileText(registry, folders) }, ...starters.files]
    const { existing: overwritten, created } = await writeFiles(planned, { dryRun: false })
    const short = (files: string[]): string[] => files.map(file => relative(io.cwd, file) || file)
    return {
      directory: io.cwd,
      registry: registry === 'embedded' ? 'embedded' : 'url',
      encryptionKey: registry === 'embedded' || (await hasEncryptionKey(context)),
      created: short(created),
      overwritten: short(overwritten),
      kept: short(starters.kept),
    }
  },
  text(result, style) {
    const lines = [
      ...result.created.map(file => `${style.good('✓')} ${clean(file)}`),
      ...result.overwritten.map(file => `${style.warn('✓')} ${clean(file)}  ${style.dim('overwritten')}`),
      ...result.kept.map(folder => `${style.dim('-')} ${clean(folder)}  ${style.dim('kept as it is')}`),
      `${style.good('✓')} registry`,
    ]
    return lines.join('\n')
  },
  hint(result) {
    return result.encryptionKey
      ? 'next: `tenantctl create acme`'
      : 'next: export TENANTCTL_ENCRYPTION_KEY="$(tenantctl key generate)" and keep it; then `tenantctl create acme`'
  },
})

function filesExist(files: readonly string[], cwd: string): CliError {
  const names = files.map(file => relative(cwd, file)).join(', ')
  return new CliError('FILE_EXISTS', `these files exist already: ${names}`, {
    hint: 'nothing was touched; --force overwrites them',
  })
}

/** The embedded server makes one by itself. */
async function hasEncryptionKey(context: CliContext): Promise<boolean> {
  const { settings } = await context.settings()
  const configured = (key: string) => String(settings.find(setting => setting.key === key)?.value ?? '') !== ''
  return configured('encryption.keys') || configured('encryption.provider')
}

/** What is configured already; otherwise what the user answers; elsewhere than on a terminal a flag has to say it. */
async function chooseRegistry(context: CliContext): Promise<'embedded' | { url: string | undefined }> {
  const { flags } = context.options
  const configured = (await context.settings()).settings.find(setting => setting.key === 'registry')?.value
  if (configured === 'embedded') return 'embedded'
  if (configured) return { url: flags.registry }
  // Throws NOT_CONFIGURED, which names all the ways.
  if (!context.interactive) await context.config()

  const answer = await choose(context, 'Where shall the registry and the tenants live?', [
    { name: 'Embedded PostgreSQL, for a first try and development', value: 'embedded' },
    { name: 'A PostgreSQL server of mine', value: 'url' },
  ])
  if (answer === 'embedded') {
    flags.embedded = true
    return 'embedded'
  }
  flags.registry = (await askHidden(context, 'URL of an admin login (postgresql://admin:…@host:5432):')).trim()
  return { url: flags.registry }
}
