import { copyFile, mkdir, readdir, realpath, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

export type PlannedFile = { target: string } & ({ text: string } | { source: string })

// The package ships its examples as they stand; src/cli/init and dist/cli/init are equally deep.
const examples = {
  migrations: fileURLToPath(new URL('../../../migrations/tenant/', import.meta.url)),
  seeds: fileURLToPath(new URL('../../../seeders/tenant/', import.meta.url)),
}

/** Which examples to copy where. A folder with files of the user's own is kept as it is. */
export async function planStarterFiles(
  cwd: string,
  folders: { migrations: string; seeds: string },
): Promise<{ files: PlannedFile[]; kept: string[] }> {
  const files: PlannedFile[] = []
  const kept: string[] = []
  for (const kind of ['migrations', 'seeds'] as const) {
    const source = examples[kind]
    const folder = resolve(cwd, folders[kind])
    const present = await entriesOf(folder)
    const starters = (await entriesOf(source)).sort()
    const ownFiles = present.length > 0 && !present.some(name => starters.includes(name))
    if (ownFiles || (await sameFolder(source, folder))) kept.push(folder)
    else files.push(...starters.map(name => ({ source: join(source, name), target: join(folder, name) })))
  }
  return { files, kept }
}

/** Writes all, and tells which were there before; a dry run only tells. */
export async function writeFiles(
  files: readonly PlannedFile[],
  options: { dryRun: boolean },
): Promise<{ existing: string[]; created: string[] }> {
  const existing: string[] = []
  const created: string[] = []
  for (const file of files) {
    const list = (await exists(file.target)) ? existing : created
    list.push(file.target)
    if (options.dryRun) continue
    await mkdir(dirname(file.target), { recursive: true })
    if ('source' in file) await copyFile(file.source, file.target)
    else await writeFile(file.target, file.text)
  }
  return { existing, created }
}

async function entriesOf(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => [])
  // `.gitkeep` and the like are no migrations.
  return names.filter(name => !basename(name).startsWith('.'))
}

async function sameFolder(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([realpath(one), realpath(other).catch(() => undefined)])
  return a === b
}

async function exists(file: string): Promise<boolean> {
  return await stat(file).then(
    () => true,
    () => false,
  )
}
