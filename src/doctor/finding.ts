import type { Leftover } from '../provisioning/leftovers.ts'

/** `ok`: nothing to do. `warning`: it works, but should be known. `problem`: something is wrong. */
export type CheckStatus = 'ok' | 'warning' | 'problem'

/** What one check found in one place. */
export interface CheckResult {
  /** Name of the check, such as `database` or `maintenance-databases`. */
  check: string
  /** `problem`: something is wrong; `warning`: it works, but should be known. */
  status: CheckStatus
  server?: string
  /** Slug. */
  tenant?: string
  message: string
  /** SQL (it ends in a semicolon), or a tenantctl command, that puts it right. */
  fix?: string
  /** `doctor --fix` has put it right. */
  fixed?: true
}

/** What a check of all servers found, and what was put right. */
export interface DoctorResult {
  /** No problem is left. Warnings do not count. */
  ok: boolean
  checks: CheckResult[]
}

/** A check's result together with what `--fix` does about it, where that is safe. */
export interface Finding extends CheckResult {
  mend?: () => Promise<void>
  /** What it is about, where that is no tenant's. */
  leftover?: Leftover
}
