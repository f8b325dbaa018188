import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { isTenancyError, type TenancyError } from '../../src/errors.ts'
import { temporaryFolder } from '../support/folder.ts'

/** A folder with these files that goes with the test. */
export function folder(files: Record<string, string> = {}, mode = 0o600): string {
  const directory = temporaryFolder()
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true })
    writeFileSync(join(directory, name), text)
    chmodSync(join(directory, name), mode)
  }
  return directory
}

/** The TenancyError that it ends in. */
export async function failure(run: () => unknown): Promise<TenancyError> {
  try {
    await run()
  } catch (error) {
    if (isTenancyError(error)) return error
    throw error
  }
  throw new Error('nothing was thrown')
}
