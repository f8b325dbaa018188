import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'
import { isTenancyError, type TenancyError } from '../../src/errors.ts'

/** A folder with these files that goes with the test. */
export function folder(files: Record<string, string> = {}, mode = 0o600): string {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'tenantctl-config-')))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
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
