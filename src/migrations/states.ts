import { findMigration, type Migration } from './source.ts'
import { versionOf } from './version.ts'

/** The states that the registry recognises by their hash: those of databases that have the first so many files. */
export interface KnownStates {
  /** Hash of the state in which nothing is pending. */
  newest: string
  /** Names; undefined for a state that is not known. */
  applied(hash: string | null): string[] | undefined
  pending(hash: string | null): readonly Migration[] | undefined
}

export function knownStates(migrations: readonly Migration[], to?: string): KnownStates {
  const until = to === undefined ? migrations.length : migrations.indexOf(findMigration(migrations, to)) + 1
  const names = migrations.map(migration => migration.name)
  const states = new Map(
    Array.from({ length: names.length + 1 }, (_, count) => {
      const applied = names.slice(0, count)
      return [versionOf(applied).hash, { applied, pending: migrations.slice(count, Math.max(count, until)) }] as const
    }),
  )
  return {
    newest: versionOf(names).hash,
    applied: hash => (hash === null ? undefined : states.get(hash)?.applied),
    pending: hash => (hash === null ? undefined : states.get(hash)?.pending),
  }
}

/** Hashes of the states in which a tenant lacks nothing up to and including `to`. */
export function hashesFrom(migrations: readonly Migration[], to: string | undefined): string[] {
  const names = migrations.map(migration => migration.name)
  const least = to === undefined ? names.length : names.indexOf(findMigration(migrations, to).name) + 1
  return Array.from({ length: names.length - least + 1 }, (_, more) => versionOf(names.slice(0, least + more)).hash)
}
