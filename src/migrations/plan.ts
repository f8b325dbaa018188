import { TenancyError } from '../errors.ts'
import type { AppliedMigration } from './history.ts'
import { findMigration, type Migration, withoutExtension } from './source.ts'

/** Migrations that are not applied yet, in the order in which they run; up to and including `to`. */
export function planUp(
  migrations: readonly Migration[],
  applied: readonly AppliedMigration[],
  to?: string,
): Migration[] {
  refuseMissing(migrations, applied)
  const done = new Set(applied.map(each => each.name))
  const until = to === undefined ? migrations.length : migrations.indexOf(findMigration(migrations, to)) + 1
  return migrations.slice(0, until).filter(migration => !done.has(migration.name))
}

export type RollbackTarget = { to: string } | { steps: number }

/** Applied migrations to undo, last applied first: `steps` of them, or all that came after `to` (which stays). */
export function planDown(
  migrations: readonly Migration[],
  applied: readonly AppliedMigration[],
  target: RollbackTarget,
): Migration[] {
  const newestFirst = applied.map(each => each.name).reverse()
  const names = 'steps' in target ? newestFirst.slice(0, target.steps) : namesAfter(newestFirst, migrations, target.to)
  return names.map(name => {
    const migration = migrations.find(each => each.name === name)
    if (!migration) throw missing([name])
    return migration
  })
}

function namesAfter(newestFirst: string[], migrations: readonly Migration[], to: string): string[] {
  const name = withoutExtension(to)
  const index = newestFirst.indexOf(name)
  if (index >= 0) return newestFirst.slice(0, index)
  findMigration(migrations, to)
  throw new TenancyError('MIGRATION_OUT_OF_ORDER', `${name} is not applied, so there is nothing to go back to`)
}

function refuseMissing(migrations: readonly Migration[], applied: readonly AppliedMigration[]): void {
  const known = new Set(migrations.map(migration => migration.name))
  const unknown = applied.map(each => each.name).filter(name => !known.has(name))
  if (unknown.length > 0) throw missing(unknown)
}

function missing(names: string[]): TenancyError {
  const few = names.slice(0, 5).join(', ') + (names.length > 5 ? ` and ${names.length - 5} more` : '')
  return new TenancyError('MIGRATION_MISSING', `the database has migrations that the folder lacks: ${few}`, {
    hint: 'deploy the version of the code that has these files; an older one must not migrate this database',
  })
}
