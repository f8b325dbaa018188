import { createHash } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import { access, type FileHandle, link, mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { devNull } from 'node:os'
import { join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { TenancyError } from '../errors.ts'
import { type DumpDescription, descriptionFile, writeDescription } from './description.ts'
import { runTool } from './run-tool.ts'
import type { ClientTools } from './tools.ts'

/** Makes the folder, for its owner alone, when it is not there. Throws `USAGE` for one that cannot be written to. */
export async function prepareDirectory(directory: string): Promise<string> {
  const path = resolve(directory)
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
    await access(path, constants.W_OK | constants.X_OK)
    return path
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new TenancyError('USAGE', `the folder for backups, ${path}, cannot be written to (${code})`, { cause: error })
  }
}

/** What is known of a dump once its bytes are counted. */
export type DumpFacts = Omit<DumpDescription, 'format' | 'takenAt' | 'sizeBytes' | 'sha256'>

/**
 * Writes `<slug>-<UTC time>.dump` and its description: under the name of a `.partial` file until it has been verified
 * and is on the disk. Never overwrites; whatever fails leaves no file. Returns the path.
 */
export async function writeDump(
  place: { directory: string; slug: string; tools: ClientTools; signal: AbortSignal | undefined },
  produce: (descriptor: number) => Promise<DumpFacts>,
): Promise<string> {
  const takenAt = new Date().toISOString()
  const path = join(place.directory, `${place.slug}-${takenAt.replace(/[-:]/g, '')}.dump`)
  const partial = `${path}.partial`
  const handle = await openNew(partial)
  const made = [partial]
  try {
    const facts = await produce(handle.fd).finally(() => sync(handle))
    const { size } = await stat(partial)
    await verifyDump(place.tools, partial, place.signal)
    const sha256 = await checksum(partial)
    if ((await stat(partial)).size !== size || size === 0) throw notWhole('its size is not what was written')
    await writeDescription(path, { format: 'tenantctl-dump-1', ...facts, takenAt, sizeBytes: size, sha256 })
    made.push(descriptionFile(path))
    await publish(partial, path)
    made.push(path)
    await syncDirectory(place.directory)
    return path
  } catch (error) {
    for (const file of made) await rm(file, { force: true })
    throw asBackupError(error)
  }
}

/** Has pg_restore list the dump, then read all of it: a list alone is of the file's beginning. */
export async function verifyDump(tools: ClientTools, file: string, signal: AbortSignal | undefined): Promise<void> {
  await listDump(tools, file, signal)
  const { exitCode, stderr } = await runTool(tools.pgRestore, [`--file=${devNull}`, file], { signal })
  if (exitCode !== 0) throw notWhole(lastLine(stderr))
}

/** The dump's table of contents, a line per entry. Throws `BACKUP_FAILED`. */
export async function listDump(tools: ClientTools, file: string, signal: AbortSignal | undefined): Promise<string[]> {
  const { stdout, stderr, exitCode } = await runTool(tools.pgRestore, ['--list', file], { signal })
  const lines = stdout.split(/\r?\n/)
  if (exitCode !== 0 || !lines.some(line => /^;\s+Format:/.test(line))) throw notWhole(lastLine(stderr))
  return lines
}

export async function checksum(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}

/** What a program said last, without its own name. */
export function lastLine(stderr: string): string {
  const lines = stderr.split(/\r?\n/).filter(line => /\S/.test(line))
  const error = lines.findLast(line => /\berror: /.test(line)) ?? lines.at(-1) ?? 'no message'
  return error.replace(/^.*?\berror: (?:error: )?/, '')
}

function notWhole(why: string): TenancyError {
  return new TenancyError('BACKUP_FAILED', `the dump could not be verified: ${why}`)
}

async function openNew(file: string): Promise<FileHandle> {
  try {
    return await open(file, 'wx', 0o600)
  } catch (error) {
    throw asBackupError(error)
  }
}

async function sync(handle: FileHandle): Promise<void> {
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** A link does not overwrite, a renaming would. */
async function publish(partial: string, path: string): Promise<void> {
  try {
    await link(partial, path)
    await rm(partial)
  } catch (error) {
    // Some file systems have no links; the partial file, which nobody else can have, keeps the name for us.
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw error
    await rename(partial, path)
  }
}

/** The names of files are the folder's content (fsync(2)). */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function asBackupError(error: unknown): unknown {
  const { code, path, message } = error as NodeJS.ErrnoException
  if (error instanceof TenancyError || typeof code !== 'string') return error
  if (code === 'EEXIST') return new TenancyError('FILE_EXISTS', `${path} exists already`, { cause: error })
  const hint = code === 'ENOSPC' ? 'free space there, or name another folder with --backup' : undefined
  return new TenancyError('BACKUP_FAILED', `the dump could not be written: ${message}`, { hint, cause: error })
}
