import type { ErrorReport } from '../errors.ts'
import { refuseChanged } from '../migrations/changed.ts'
import type { Migration } from '../migrations/source.ts'
import type { TenantRegistry } from '../registry/tenant-registry.ts'

/** The files of a run: which were applied somewhere before, and which are for the first time now. */
export class KnownFiles {
  readonly #known: Map<string, string>
  readonly #byFile: Map<string, Migration>

  private constructor(
    private readonly registry: TenantRegistry,
    readonly migrations: readonly Migration[],
    known: Map<string, string>,
    private readonly replace: boolean,
  ) {
    this.#known = known
    this.#byFile = new Map(migrations.map(migration => [migration.file, migration]))
  }

  static async read(
    registry: TenantRegistry,
    migrations: readonly Migration[],
    options: { allowChanged?: boolean | undefined } = {},
  ): Promise<KnownFiles> {
    const files = new KnownFiles(registry, migrations, await registry.checksums(), options.allowChanged ?? false)
    // Accepted once is accepted for good, also where no tenant needs any file.
    if (options.allowChanged) await files.record([...files.#known.keys()])
    else refuseChanged(migrations, files.#known)
    return files
  }

  /** Writes down the checksums of files that a tenant has now and that were not known: a file is recorded once a run. */
  async record(applied: readonly string[]): Promise<void> {
    const names = new Set(applied)
    const news = this.migrations.filter(({ name, checksum }) => names.has(name) && this.#known.get(name) !== checksum)
    if (news.length === 0) return
    await this.registry.recordChecksums(news, { replace: this.replace })
    for (const { name, checksum } of news) this.#known.set(name, checksum)
  }

  /** Whether the file in which something failed has been applied to another tenant as it is now. */
  hasWorked(error: ErrorReport): boolean {
    const migration = error.migration === undefined ? undefined : this.#byFile.get(error.migration)
    return migration !== undefined && this.#known.get(migration.name) === migration.checksum
  }
}
