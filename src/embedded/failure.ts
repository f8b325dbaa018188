import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isTenancyError, TenancyError } from '../errors.ts'

/** Runs `work`; an error of the file system or of a child process comes out as `EMBEDDED_FAILED` with a hint. */
export async function guarded<T>(directory: string, doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (isTenancyError(error)) throw error
    const code = errno(error)
    if (code === undefined) throw error
    throw new TenancyError('EMBEDDED_FAILED', `could not ${doing} the embedded server: ${(error as Error).message}`, {
      hint: hintFor(code, directory),
      cause: error,
    })
  }
}

/** `ENOENT`, `EACCES`, … when the error has one. */
export function errno(error: unknown): string | undefined {
  const code = (error as NodeJS.ErrnoException | null)?.code
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined
}

/** For `.catch()`: nothing where there is no such file; every other error goes on. */
export function missing(error: unknown): null {
  const code = errno(error)
  if (code === 'ENOENT' || code === 'ENOTDIR') return null
  throw error
}

/** `EMBEDDED_FAILED` in the server's own words. A full disk is looked for, as a server can then not even write its log. */
export async function serverFailure(doing: string, output: string, logFile: string): Promise<TenancyError> {
  const lines = output.trim().split('\n').slice(-12).join('\n')
  const full = /no space left|disk quota exceeded/i.test(output) || (await diskIsFull(dirname(logFile)))
  return new TenancyError(
    'EMBEDDED_FAILED',
    `could not ${doing} the embedded server: ${lines || 'it wrote no reason'}`,
    {
      hint: full ? diskHint(dirname(logFile)) : `the whole log is in ${logFile}`,
    },
  )
}

async function diskIsFull(directory: string): Promise<boolean> {
  const disk = await statfs(directory).catch(() => null)
  return disk !== null && disk.bavail * disk.bsize < 1024 * 1024
}

function hintFor(code: string, directory: string): string | undefined {
  if (code === 'ENOSPC' || code === 'EDQUOT') return diskHint(directory)
  if (code === 'EROFS') return `${directory} is on a read-only file system; name another folder with embedded.directory`
  if (code === 'EACCES' || code === 'EPERM') {
    return `${directory} or what is in it belongs to another user: run as that user, or name another folder with embedded.directory`
  }
  return undefined
}

function diskHint(directory: string): string {
  return `the disk that holds ${directory} is full: free at least 100 MB and try again`
}
