import { TenancyError } from '../errors.ts'
import { lintMigrations } from '../lint/lint.ts'
import type { Migration } from '../migrations/source.ts'
import type { Parts } from './parts.ts'

/** Files that were not applied to any tenant yet. */
export async function newMigrations(parts: Parts): Promise<Migration[]> {
  const migrations = await parts.migrations()
  const known = await parts.checksums.known(migrations)
  return migrations.filter(({ name }) => !known.has(name))
}

/** Throws `MIGRATIONS_UNSAFE` when one of these is dangerous on live tables. */
export async function refuseDangerous(parts: Parts): Promise<void> {
  const findings = await lintMigrations(await newMigrations(parts))
  const [first] = findings
  if (!first) return
  const list = findings.map(({ migration, line, message, rule }) => `${migration}, line ${line}: ${message} (${rule})`)
  throw new TenancyError('MIGRATIONS_UNSAFE', list.join('\n'), {
    migration: first.migration,
    line: first.line,
    hint: `${first.safer}; a comment "-- migrate:allow ${first.rule}" above the statement says that it is meant so`,
  })
}
