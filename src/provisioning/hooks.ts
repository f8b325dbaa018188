import { TenancyError } from '../errors.ts'

/** Asks a hook of the configuration; what it throws is `HOOK_FAILED`, with the hook's name. */
export async function askHook(name: string, tenant: string, hook: () => unknown): Promise<void> {
  try {
    await hook()
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    throw new TenancyError('HOOK_FAILED', `hooks.${name}: ${message}`, { tenant, cause: error })
  }
}
