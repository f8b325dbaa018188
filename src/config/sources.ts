import { delimiter, dirname, isAbsolute, resolve } from 'node:path'
import { TenancyError } from '../errors.ts'
import type { Secret } from '../secrets/secret.ts'
import { type ResolvedConfig, type ValidConfig, withServer } from './config.ts'
import { findConfigFile, importConfigFile, placeOf } from './file.ts'
import { parseEncryptionKeys, readEncryptionKeyFile } from './keys.ts'
import { type Environment, libpqDefaults, libpqVariable } from './libpq.ts'
import { listSettings, type Setting } from './settings.ts'
import { completeUrl, type UrlDefaults, UrlProblem } from './url.ts'
import { configInvalid, registryDatabase, urlProblem, validateConfig } from './validate.ts'

/** Settings of a command line, as it has parsed them. */
export interface ConfigFlags {
  config?: string | undefined
  registry?: string | undefined
  embedded?: boolean | undefined
  migrations?: string | undefined
  seeds?: string | undefined
}

/** What settings are made from. Flags win over the environment, and that over the file. */
export interface ConfigInput {
  flags?: ConfigFlags
  /** Usually `process.env`; nothing else of the process is read. */
  env: Environment
  /** Absolute working folder. */
  cwd: string
}

/** What a flag or the environment puts in the place of what the file says. */
interface Override<Value> {
  value: Value
  source: string
}

interface Overrides {
  registry?: Override<'embedded' | { url: Secret }> | undefined
  keys?: Override<{ keys: Secret[]; keyFile: string | null }> | undefined
  migrations?: Override<string> | undefined
  seeds?: Override<string> | undefined
}

const notConfiguredHint = [
  'give one, in any of these ways:',
  '--registry postgresql://admin@host:5432',
  'TENANTCTL_REGISTRY_URL, DATABASE_URL or PGHOST in the environment',
  'registry.url in tenantctl.config.ts',
  'or --embedded, for a first try and development',
].join('\n')

/**
 * The configuration in force: flags before environment before file before defaults; each setting with its source.
 * Throws `USAGE`, `CONFIG_INVALID`, `CONFIG_NOT_FOUND`, `ENCRYPTION_KEY_INVALID` or `NOT_CONFIGURED`.
 */
export async function resolveConfig(
  input: ConfigInput,
): Promise<{ config: ResolvedConfig; settings: Setting[]; file: string | null }> {
  const { config, settings, file } = await readSources(input)
  return { config: withServer(config, notConfiguredHint), settings, file }
}

/** The same for those who only want to look: a configuration without a server is none to complain about. */
export async function effectiveSettings(input: ConfigInput): Promise<{ settings: Setting[]; file: string | null }> {
  const { settings, file } = await readSources(input)
  return { settings, file }
}

async function readSources(
  input: ConfigInput,
): Promise<{ config: ValidConfig; settings: Setting[]; file: string | null }> {
  const { flags = {}, env, cwd } = input
  const urlDefaults = libpqDefaults(env)
  const overrides: Overrides = {
    registry: registryFromFlags(flags, cwd, urlDefaults) ?? registryFromEnvironment(env, cwd, urlDefaults),
    keys: keysFromEnvironment(env, cwd),
    migrations: folderFromFlag('--migrations', flags.migrations, cwd),
    seeds: folderFromFlag('--seeds', flags.seeds, cwd),
  }
  const { file, source } = configFile(flags, env, cwd)
  const place = file === null ? 'configuration' : placeOf(file, cwd)
  const written = file === null ? {} : await importConfigFile(file, place)
  const config = validateConfig(overlay(written, overrides), {
    directory: file === null ? cwd : dirname(file),
    place,
    urlDefaults,
  })
  if (overrides.keys) config.encryption = { ...config.encryption, ...overrides.keys.value }
  // An empty entry of PATH is the working folder: nobody means to run a pg_dump that happens to lie there.
  config.tools.path = (env.PATH ?? '').split(delimiter).filter(isAbsolute)
  const sources = Object.entries({
    registry: overrides.registry,
    'encryption.keys': overrides.keys,
    'migrations.directory': overrides.migrations,
    'seeds.directory': overrides.seeds,
  }).flatMap(([key, override]) => (override ? [[key, override.source] as const] : []))
  const settings = [{ key: 'config', value: file, source }, ...listSettings(config, written, place, new Map(sources))]
  return { config, settings, file }
}

function configFile(flags: ConfigFlags, env: Environment, cwd: string): { file: string | null; source: string } {
  if (flags.config !== undefined) return { file: resolve(cwd, flags.config), source: 'flag --config' }
  if (env.TENANTCTL_CONFIG) return { file: resolve(cwd, env.TENANTCTL_CONFIG), source: 'environment TENANTCTL_CONFIG' }
  const file = findConfigFile(cwd)
  return { file, source: file === null ? 'default' : 'found upwards' }
}

/** What is overridden is not validated: a file may take its URL from a variable that only production has. */
function overlay(written: unknown, { registry, keys, migrations, seeds }: Overrides): unknown {
  if (typeof written !== 'object' || written === null) return written
  const config: Record<string, unknown> = { ...written }
  const replace = (section: string, key: string, value: unknown) => {
    const now = config[section] ?? {}
    // A section that is no object is left for the validation to complain about.
    if (typeof now === 'object') config[section] = { ...now, [key]: value }
  }
  if (registry) config.registry = registry.value
  if (keys) replace('encryption', 'keys', [])
  if (migrations) replace('migrations', 'directory', migrations.value)
  if (seeds) replace('seeds', 'directory', seeds.value)
  return config
}

function registryFromFlags(flags: ConfigFlags, cwd: string, defaults: UrlDefaults): Overrides['registry'] {
  const { registry, embedded } = flags
  if (registry !== undefined && embedded) {
    throw new TenancyError('USAGE', '--registry and --embedded exclude each other', { hint: 'give one of them' })
  }
  if (embedded) return { value: 'embedded', source: 'flag --embedded' }
  if (registry === undefined) return undefined
  return registryUrl(registry, '--registry', 'flag --registry', cwd, defaults)
}

function registryFromEnvironment(env: Environment, cwd: string, defaults: UrlDefaults): Overrides['registry'] {
  const embedded = booleanVariable(env, 'TENANTCTL_EMBEDDED')
  if (embedded && env.TENANTCTL_REGISTRY_URL) {
    throw configInvalid(['environment: TENANTCTL_EMBEDDED and TENANTCTL_REGISTRY_URL exclude each other; set one'])
  }
  if (embedded) return { value: 'embedded', source: 'environment TENANTCTL_EMBEDDED' }
  for (const name of ['TENANTCTL_REGISTRY_URL', 'DATABASE_URL']) {
    const url = env[name]
    if (url) return registryUrl(url, name, `environment ${name}`, cwd, defaults)
  }
  const variable = libpqVariable(env)
  if (variable === undefined) return undefined
  const database = encodeURIComponent(env.PGDATABASE ?? '')
  return registryUrl(`postgresql:///${database}`, 'environment PG*', `environment ${variable}`, cwd, defaults)
}

function registryUrl(
  text: string,
  place: string,
  source: string,
  cwd: string,
  defaults: UrlDefaults,
): Overrides['registry'] {
  try {
    return { value: { url: completeUrl(text, { directory: cwd, database: registryDatabase, defaults }) }, source }
  } catch (error) {
    if (!(error instanceof UrlProblem)) throw error
    throw configInvalid([urlProblem(place, error)])
  }
}

function keysFromEnvironment(env: Environment, cwd: string): Overrides['keys'] {
  const [key, file] = ['TENANTCTL_ENCRYPTION_KEY', 'TENANTCTL_ENCRYPTION_KEY_FILE']
  if (env[key] && env[file]) throw configInvalid([`environment: ${key} and ${file} exclude each other; set one`])
  if (env[key]) {
    return { value: { keys: parseEncryptionKeys(env[key], key), keyFile: null }, source: `environment ${key}` }
  }
  if (!env[file]) return undefined
  const keyFile = resolve(cwd, env[file])
  return { value: { keys: readEncryptionKeyFile(keyFile, file), keyFile }, source: `environment ${file}` }
}

function folderFromFlag(flag: string, value: string | undefined, cwd: string): Override<string> | undefined {
  if (value === undefined) return undefined
  if (value.trim() === '')
    throw new TenancyError('USAGE', `${flag}: expected the path of a folder, found an empty text`)
  return { value: resolve(cwd, value), source: `flag ${flag}` }
}

function booleanVariable(env: Environment, name: string): boolean {
  const value = (env[name] ?? '').trim().toLowerCase()
  if (['1', 'true', 'yes', 'on'].includes(value)) return true
  if (['', '0', 'false', 'no', 'off'].includes(value)) return false
  throw configInvalid([`environment ${name}: expected 1 or 0, found ${JSON.stringify(value.slice(0, 20))}`])
}
