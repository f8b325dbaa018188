import type { FailureGroup, TenantOutcome } from './result.ts'

const named = 5

/** Puts together what failed for the same reason, most frequent first, then by name of the first tenant. */
export function groupFailures<T extends Pick<TenantOutcome, 'tenant' | 'error'>>(
  outcomes: Iterable<T>,
  onMember?: (group: FailureGroup, outcome: T) => void,
): FailureGroup[] {
  const groups = new Map<string, FailureGroup>()
  for (const outcome of outcomes) {
    const { tenant, error } = outcome
    if (!error) continue
    const { code, sqlstate, migration, line } = error
    const message = withoutTenant(error.message, tenant)
    const key = JSON.stringify([code, sqlstate, migration, line, message])
    const known = groups.get(key)
    const group = known ?? {
      count: 0,
      code,
      message,
      ...(sqlstate === undefined ? {} : { sqlstate }),
      ...(migration === undefined ? {} : { migration }),
      ...(line === undefined ? {} : { line }),
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      tenants: [],
    }
    if (known && known.hint !== error.hint) delete known.hint
    groups.set(key, group)
    group.count += 1
    if (group.tenants.length < named) group.tenants.push(tenant)
    onMember?.(group, outcome)
  }
  return [...groups.values()].sort((a, b) => b.count - a.count)
}

/**
 * What differs between tenants that fail alike: quoted names that hold the slug (database, role), process ids, and the
 * values of the row in question.
 */
function withoutTenant(message: string, slug: string): string {
  const forms = [slug, slug.replaceAll('-', '_')]
  return message
    .replace(/"([^"]*)"/g, (quoted, name: string) => (forms.some(form => name.includes(form)) ? '"…"' : quoted))
    .replace(/\b(pid|process|transaction) \d+/gi, '$1 …')
}
