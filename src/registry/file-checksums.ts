import { changedFiles, refuseChanged } from '../migrations/changed.ts'
import type { Migration } from '../migrations/source.ts'
import { knownStates } from '../migrations/states.ts'
import type { RegistryConnection } from './connection.ts'
import { recordChecksumsText } from './record-checksums.ts'

/** What migration files were like when they were first applied to a tenant. */
export class FileChecksums {
  constructor(private readonly registry: RegistryConnection) {}

  /** By name, of the files that a tenant has; one that was rolled back everywhere is as good as new. */
  async known(migrations: readonly Migration[]): Promise<Map<string, string>> {
    const all = await this.#read()
    for (const name of await this.#appliedNowhere(migrations, all)) all.delete(name)
    return all
  }

  /**
   * The same for those who are about to apply them: what is as good as new is forgotten, so that what the file is now
   * can be recorded. Throws `MIGRATION_CHANGED` unless told to accept what has changed.
   */
  async check(
    migrations: readonly Migration[],
    options: { allowChanged?: boolean | undefined } = {},
  ): Promise<Map<string, string>> {
    const all = await this.#read()
    for (const name of await this.#appliedNowhere(migrations, all)) {
      await this.registry.query(
        'forgetting a checksum',
        'DELETE FROM tenantctl.migrations WHERE name = $1 AND checksum = $2',
        [name, all.get(name)],
      )
      all.delete(name)
    }
    if (!options.allowChanged) refuseChanged(migrations, all)
    return all
  }

  /** The first checksum of a name stays, unless `replace` says that a change is meant. */
  async record(
    migrations: readonly Pick<Migration, 'name' | 'checksum'>[],
    options: { replace?: boolean } = {},
  ): Promise<void> {
    if (migrations.length === 0) return
    await this.registry.query('recording checksums', recordChecksumsText('$1', '$2', options), [
      migrations.map(each => each.name),
      migrations.map(each => each.checksum),
    ])
  }

  async #read(): Promise<Map<string, string>> {
    const rows = await this.registry.query<{ name: string; checksum: string }>(
      'reading checksums',
      'SELECT name, checksum FROM tenantctl.migrations',
    )
    return new Map(rows.map(row => [row.name, row.checksum]))
  }

  /** Changed files that no tenant has. One in a state that is not known, such as one being made, may have any of them. */
  async #appliedNowhere(migrations: readonly Migration[], all: ReadonlyMap<string, string>): Promise<string[]> {
    const changed = changedFiles(migrations, all)
    if (changed.length === 0) return []
    const states = knownStates(migrations)
    const rows = await this.registry.query<{ hash: string | null }>(
      'looking for tenants with changed files',
      'SELECT DISTINCT migrations_hash AS hash FROM tenantctl.tenants',
    )
    const applied = rows.map(row => states.applied(row.hash))
    return changed.map(({ name }) => name).filter(name => applied.every(names => names && !names.includes(name)))
  }
}
