import { type ExamineOptions, examine, isHealthy } from '../doctor/doctor.ts'
import type { DoctorResult } from '../doctor/finding.ts'
import { checkIsolation } from '../doctor/isolation.ts'
import type { LazyParts } from './parts.ts'

/** What is checked, and what is put right. */
export interface DoctorOptions extends ExamineOptions {
  /**
   * Also logs in as tenants and tries to leave their databases. Nothing of it persists; refused logins stand in the
   * server's log. Default: false.
   */
  isolation?: boolean | undefined
}

/** Compares the servers with the registry, and where it is asked for proves the isolation of tenants. */
export async function doctor(lazy: LazyParts, options: DoctorOptions): Promise<DoctorResult> {
  const parts = await lazy.get()
  const run = { ...options, onEvent: options.onEvent ?? parts.config.onEvent }
  const { checks } = await examine(parts, () => parts.jobs.waitingTenants('create'), run)
  if (options.isolation) checks.push(...(await checkIsolation(parts, run)))
  return { ok: isHealthy(checks), checks }
}
