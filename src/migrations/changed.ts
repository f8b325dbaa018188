import { TenancyError } from '../errors.ts'
import type { Migration } from './source.ts'

export function changedFiles(migrations: readonly Migration[], known: ReadonlyMap<string, string>): Migration[] {
  return migrations.filter(({ name, checksum }) => (known.get(name) ?? checksum) !== checksum)
}

/** A file that was applied somewhere and then changed would make tenants differ for ever: `MIGRATION_CHANGED`. */
export function refuseChanged(migrations: readonly Migration[], known: ReadonlyMap<string, string>): void {
  const changed = changedFiles(migrations, known)
  if (changed.length === 0) return
  const list = changed.map(
    ({ file, name, checksum }) => `${file} (was ${known.get(name)?.slice(0, 12)}, is ${checksum.slice(0, 12)})`,
  )
  throw new TenancyError('MIGRATION_CHANGED', `changed after having been applied: ${list.join(', ')}`, {
    migration: changed[0]?.file,
    hint: 'restore the file and put the change into a new migration; `tenantctl migrate --allow-changed` accepts it as it is now',
  })
}
