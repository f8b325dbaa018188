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

/** `names`: exactly these, as far as they are applied. */
export type RollbackTarget = { to: string } | { steps: number } | { names: readonly string[] }

/** Applied migrations to undo, last applied first: `steps` of them, those named, or all that came after `to`. */
export function planDown(
  migrations: readonly Migration[],
  applied: readonly AppliedMigration[],
  target: RollbackTarget,
): Migration[] {
  const newestFirst = applied.map(each => each.name).reverse()
  const names = namesToUndo(newestFirst, migrations, target)
  return names.map(name => {
    const migration = migrations.find(each => each.name === name)
    if (!migration) throw missing([name])
    return migration
  })
}

function namesToUndo(newestFirst: string[], migrations: readonly Migration[], target: RollbackTarget): string[] {
  if ('steps' in target) return newestFirst.slice(0, target.steps)
  if ('to' in target) return namesAfter(newestFirst, migrations, target.to)
  const wanted = newestFirst.filter(name => target.names.includes(name))
  const newer = newestFirst
    .slice(0, newestFirst.indexOf(wanted.at(-1) ?? '') + 1)
    .filter(name => !wanted.includes(name))
  if (newer.length > 0) throw cameAfter(newer)
  return wanted
}

/** Undoing what others were built on would leave them in the air. */
export function cameAfter(newer: readonly string[], tenants = ''): TenancyError {
  const list = newer.slice(0, 5).join(', ') + (newer.length > 5 ? ` and ${newer.length - 5} more` : '')
  return new TenancyError('MIGRATION_OUT_OF_ORDER', `newer migrations came after${tenants}: ${list}`, {
    hint: 'roll these back first, or name the tenants that have none of them',
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
