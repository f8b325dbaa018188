import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Knex } from 'knex'
import { TenancyError } from '../errors.ts'
import { parseScript, parseSqlMigration, type SqlMigration, type SqlScript } from './sql-file.ts'

/** A migration file. */
export interface Migration {
  /** File name without extension: what is compared, so that `001_a.ts` may become `001_a.js`. */
  name: string
  /** File name with extension: what knex stores in its table. */
  file: string
  /** SHA-256 of the file's bytes. */
  checksum: string
  sql: SqlMigration | undefined
  /** The functions of a JS or TS file, imported on first use. */
  load(): Promise<MigrationModule>
}

interface MigrationModule {
  up: (knex: Knex) => unknown
  down: ((knex: Knex) => unknown) | undefined
  transactional: boolean
}

/** A seed file. */
export interface Seed {
  name: string
  file: string
  /** SHA-256 of the file's bytes. */
  checksum: string
  sql: SqlScript | undefined
  /** Whether it makes something else for each tenant, so that no copy of what it made elsewhere will do. */
  isPerTenant(): Promise<boolean>
  load(): Promise<(knex: Knex) => unknown>
}

interface SeedModule {
  seed: (knex: Knex) => unknown
  perTenant: boolean
}

const scripts = /\.(sql|js|mjs|ts|mts)$/
const perTenantLine = /^[ \t]*--[ \t]*seed:per-tenant[ \t]*(\r?\n|$)/
const declarations = /\.d\.m?ts$/

/** Reads a folder of migrations in name order. Throws `MIGRATIONS_INVALID` for what cannot be used. */
export async function readMigrations(
  directory: string,
  options: { mayBeMissing?: boolean } = {},
): Promise<Migration[]> {
  const files = await listScripts(directory, 'migrations', options.mayBeMissing ?? false)
  const misnamed = files.find(file => !/^\d+[_-]?.*/.test(file))
  if (misnamed) {
    throw new TenancyError('MIGRATIONS_INVALID', `${join(directory, misnamed)} is not named like NNN_name`, {
      migration: misnamed,
      hint: 'begin its name with a number or a date (20260101_name.sql), or move it out of the migrations folder',
    })
  }
  return Promise.all(
    files.map(async file => {
      const path = join(directory, file)
      const content = await readFile(path)
      return {
        name: withoutExtension(file),
        file,
        checksum: sha256(content),
        sql: file.endsWith('.sql') ? parseSqlMigration(file, content.toString('utf8')) : undefined,
        load: once(() => loadMigration(path, file)),
      }
    }),
  )
}

/** Reads a folder of seeds in name order. */
export async function readSeeds(directory: string, options: { mayBeMissing?: boolean } = {}): Promise<Seed[]> {
  const files = await listScripts(directory, 'seeds', options.mayBeMissing ?? false)
  return Promise.all(
    files.map(async file => {
      const path = join(directory, file)
      const content = await readFile(path)
      const text = content.toString('utf8').replace(/^\uFEFF/, '')
      const isSql = file.endsWith('.sql')
      const load = once(() => loadSeed(path, file))
      // Most files need not be loaded to be known not to say so.
      const perTenant = isSql
        ? perTenantLine.test(text)
        : /\bperTenant\b/.test(text) && (async () => (await load()).perTenant)
      return {
        name: withoutExtension(file),
        file,
        checksum: sha256(content),
        sql: isSql ? parseScript(file, text, 1, true) : undefined,
        isPerTenant: typeof perTenant === 'function' ? perTenant : async () => perTenant,
        load: async () => (await load()).seed,
      }
    }),
  )
}

export function withoutExtension(file: string): string {
  return file.replace(scripts, '')
}

/** Finds one by name, with or without extension; throws `MIGRATION_NOT_FOUND`. */
export function findMigration<T extends { name: string }>(migrations: readonly T[], name: string): T {
  const found = migrations.find(migration => migration.name === withoutExtension(name))
  if (found) return found
  throw new TenancyError('MIGRATION_NOT_FOUND', `there is no migration "${name}"`, {
    hint:
      migrations.length > 0
        ? `the last ones are: ${migrations
            .slice(-3)
            .map(each => each.name)
            .join(', ')}`
        : undefined,
  })
}

async function listScripts(directory: string, what: string, mayBeMissing: boolean): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' && mayBeMissing) return []
    const why = error.code === 'ENOENT' ? 'does not exist' : `cannot be read (${error.code})`
    throw new TenancyError('MIGRATIONS_INVALID', `the ${what} folder ${directory} ${why}`, {
      hint: `name the folder with --${what} or ${what}.directory, or let \`tenantctl init\` make one`,
      cause: error,
    })
  })
  const files = entries
    .filter(entry => !entry.isDirectory() && !entry.name.startsWith('.'))
    .map(entry => entry.name)
    .filter(name => scripts.test(name) && !declarations.test(name))
    .sort()
  const twin = files.find(
    (file, index) => files.findIndex(other => withoutExtension(other) === withoutExtension(file)) < index,
  )
  if (twin) {
    throw new TenancyError('MIGRATIONS_INVALID', `${directory} holds ${withoutExtension(twin)} more than once`, {
      migration: twin,
      hint: 'remove all but one of the files that differ in their extension only',
    })
  }
  return files
}

async function loadMigration(path: string, file: string): Promise<MigrationModule> {
  const module = await importModule(path, file)
  const { up, down } = module
  if (typeof up !== 'function' || (down !== undefined && typeof down !== 'function')) {
    throw new TenancyError('MIGRATIONS_INVALID', `${file} does not export a function "up"`, { migration: file })
  }
  const config = module.config as { transaction?: unknown } | undefined
  return {
    up: up as MigrationModule['up'],
    down: down as MigrationModule['down'],
    transactional: config?.transaction !== false,
  }
}

async function loadSeed(path: string, file: string): Promise<SeedModule> {
  const { seed, perTenant } = await importModule(path, file)
  if (typeof seed !== 'function') {
    throw new TenancyError('MIGRATIONS_INVALID', `${file} does not export a function "seed"`, { migration: file })
  }
  return { seed: seed as SeedModule['seed'], perTenant: perTenant === true }
}

/**
 * A hash of the files in these folders, subfolders included, that are neither migrations nor seeds: a seed may read
 * its rows from one of them, and no checksum of its own would tell that they have changed.
 */
export async function hashCompanions(directories: readonly string[]): Promise<string> {
  const hash = createHash('sha256')
  for (const directory of directories) {
    const entries = await readdir(directory, { withFileTypes: true, recursive: true }).catch(() => [])
    const files = entries
      .filter(entry => entry.isFile() && !(entry.parentPath === directory && scripts.test(entry.name)))
      .map(entry => join(entry.parentPath, entry.name))
      .sort()
    for (const file of files) hash.update(`${relative(directory, file)}\0${sha256(await readFile(file))}\0`)
  }
  return hash.digest('hex')
}

function sha256(content: Buffer): string {
  return createHash('sha256').update(content).digest('hex')
}

/** Node 20 imports neither TypeScript nor, from a .js file without "type", both kinds of modules: jiti does. */
async function importModule(path: string, file: string): Promise<Record<string, unknown>> {
  try {
    const module = path.endsWith('.mjs') ? await import(pathToFileURL(path).href) : await importWithJiti(path)
    const named = module as Record<string, unknown>
    const fallback = named.default
    return typeof fallback === 'object' && fallback !== null ? { ...fallback, ...named } : named
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    throw new TenancyError('MIGRATIONS_INVALID', `${file} cannot be loaded: ${message}`, {
      migration: file,
      cause: error,
    })
  }
}

async function importWithJiti(path: string): Promise<unknown> {
  const { createJiti } = await import('jiti')
  return createJiti(import.meta.url, { fsCache: false }).import(path)
}

function once<T>(load: () => Promise<T>): () => Promise<T> {
  let loading: Promise<T> | undefined
  return () => {
    loading ??= load()
    return loading
  }
}
