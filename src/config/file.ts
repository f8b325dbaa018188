import { mkdirSync, type Stats, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, dirname, extname, join, relative, resolve } from 'node:path'
import { isTenancyError, TenancyError } from '../errors.ts'
import { type ResolvedConfig, withServer } from './config.ts'
import { locateJsonError } from './json.ts'
import { configInvalid, validateConfig } from './validate.ts'

const fileNames = ['ts', 'mts', 'js', 'mjs', 'json'].map(extension => `tenantctl.config.${extension}`)

/** The file's import of us, not one of ours: src/index.ts in the checkout, dist/index.js in the package. */
const ourDoor = new URL(`../index${extname(import.meta.url)}`, import.meta.url).href

/**
 * Finds `tenantctl.config.*` in `cwd` (by default the working folder) or the nearest folder above it, or takes `file`,
 * and validates it; hand the result to `createTenancy`. Throws `CONFIG_NOT_FOUND`, `CONFIG_INVALID` or, when the file
 * names no server, `NOT_CONFIGURED`: `resolveConfig` takes one from the environment as well.
 */
export async function loadConfig(options: { cwd?: string; file?: string } = {}): Promise<ResolvedConfig> {
  const cwd = resolve(options.cwd ?? '.')
  const file = options.file === undefined ? findConfigFile(cwd) : resolve(cwd, options.file)
  if (file === null) {
    throw new TenancyError('CONFIG_NOT_FOUND', `no tenantctl.config.ts in ${cwd} or a folder above it`, {
      hint: '`tenantctl init` writes one.',
    })
  }
  const place = placeOf(file, cwd)
  const config = validateConfig(await importConfigFile(file, place), { directory: dirname(file), place })
  return withServer(config, `Add \`registry: { url: 'postgresql://admin@host:5432' }\` to ${place}.`)
}

/** Absolute path of the nearest configuration file, from `directory` upwards. */
export function findConfigFile(directory: string): string | null {
  const found = fileNames.map(name => join(directory, name)).find(file => statsOf(file)?.isFile())
  if (found !== undefined) return found
  const parent = dirname(directory)
  return parent === directory ? null : findConfigFile(parent)
}

/** What messages call a file: its path from `cwd`, where that is shorter. */
export function placeOf(file: string, cwd: string): string {
  const path = relative(cwd, file)
  return path.length < file.length ? path : file
}

/** What the file exports by default, awaited, or called when it is a function; not validated. */
export async function importConfigFile(file: string, place: string): Promise<unknown> {
  const stats = statsOf(file)
  if (!stats?.isFile()) {
    throw new TenancyError('CONFIG_NOT_FOUND', `there is no configuration file ${file}`)
  }
  refuseForeign(file, place, stats)
  try {
    if (file.endsWith('.json')) return parseJson(await readFile(file, 'utf8'), place)
    const exported = await importCode(file, place)
    return typeof exported === 'function' ? await exported() : await exported
  } catch (error) {
    if (isTenancyError(error)) throw error
    const { message } = error instanceof Error ? error : { message: String(error) }
    throw new TenancyError('CONFIG_INVALID', `${place} could not be loaded: ${message}`, { cause: error })
  }
}

async function importCode(file: string, place: string): Promise<unknown> {
  const { createJiti } = await import('jiti')
  const jiti = createJiti(file, {
    // `import { defineConfig } from 'tenantctl'` is us, also where the project has no copy of its own (npx, npm i -g).
    virtualModules: { tenantctl: await import(ourDoor) },
    // A stale module must not outlive an edit of its file, nor stay in a process that lives long.
    moduleCache: false,
    fsCache: compileCache(dirname(file)),
    interopDefault: false,
  })
  const module = await jiti.import<{ default?: unknown }>(file)
  if (module.default === undefined) {
    throw configInvalid([`${place}: expected a default export, found none`], {
      hint: 'export default defineConfig({ … })',
    })
  }
  return module.default
}

/** Compiling takes longer than all the rest. jiti would keep the results in the /tmp that others may write to. */
function compileCache(directory: string): string | false {
  const modules = join(directory, 'node_modules')
  const cache = join(modules, '.cache', 'tenantctl')
  if (!statsOf(modules)?.isDirectory()) return false
  try {
    // Private, since a configuration with a password in it is copied there.
    mkdirSync(cache, { recursive: true, mode: 0o700 })
    return cache
  } catch {
    return false
  }
}

function parseJson(text: string, place: string): unknown {
  const json = text.replace(/^\uFEFF/, '')
  try {
    return JSON.parse(json)
  } catch {
    const { line, column } = locateJsonError(json)
    throw configInvalid([`${place}, line ${line}, column ${column}: this is not valid JSON`])
  }
}

/** The file is run with our rights and decides where our passwords go: nobody else may have written it. */
function refuseForeign(file: string, place: string, { mode, uid }: Stats): void {
  const ours = process.getuid?.()
  if (ours === undefined) return
  if ((mode & 0o002) !== 0) {
    throw configInvalid(
      [`${place}: expected a file that only its owner may change, found one that anybody may change`],
      {
        hint: `chmod o-w ${file}`,
      },
    )
  }
  if (![ours, 0, statsOf(dirname(file))?.uid].includes(uid)) {
    throw configInvalid([`${place}: expected a file of yours, found one of another user (${uid})`], {
      hint: `look at what is in it; then: sudo chown ${ours} ${basename(file)}`,
    })
  }
}

function statsOf(path: string): Stats | undefined {
  try {
    return statSync(path)
  } catch {
    return undefined
  }
}
