import type { ErrorReport } from '../errors.ts'
import type { Migration } from '../migrations/source.ts'
import type { FileChecksums } from '../registry/file-checksums.ts'

/** The files of a run: which were applied somewhere before, and which are for the first time now. */
export class KnownFiles {
  readonly #known: Map<string, string>
  readonly #byFile: Map<string, Migration>
  #writing: Promise<void> | undefined

  private constructor(
    private readonly checksums: FileChecksums,
    readonly migrations: readonly Migration[],
    known: Map<string, string>,
    private readonly replace: boolean,
  ) {
    this.#known = known
    this.#byFile = new Map(migrations.map(migration => [migration.file, migration]))
  }

  /** Throws `MIGRATION_CHANGED` unless told to accept what has changed. */
  static async read(
    checksums: FileChecksums,
    migrations: readonly Migration[],
    options: { allowChanged?: boolean | undefined } = {},
  ): Promise<KnownFiles> {
    const known = await checksums.check(migrations, options)
    const files = new KnownFiles(checksums, migrations, known, options.allowChanged ?? false)
    // Accepted once is accepted for good, also where no tenant needs any file.
    if (options.allowChanged) await files.record([...known.keys()])
    return files
  }

  /** For those who apply none of them: what has changed is neither refused nor accepted. */
  static async look(checksums: FileChecksums, migrations: readonly Migration[]): Promise<KnownFiles> {
    return new KnownFiles(checksums, migrations, await checksums.known(migrations), false)
  }

  /** Writes down the checksums of files that a tenant has now and that were not known: a file is recorded once a run. */
  async record(applied: readonly string[]): Promise<void> {
    // The first tenants of a run end at about the same time, and all of them have the new file.
    await this.#writing?.catch(() => undefined)
    const names = new Set(applied)
    const news = this.migrations.filter(({ name, checksum }) => names.has(name) && this.#known.get(name) !== checksum)
    if (news.length === 0) return
    this.#writing = this.checksums.record(news, { replace: this.replace }).then(() => {
      for (const { name, checksum } of news) this.#known.set(name, checksum)
    })
    await this.#writing
  }

  /** Whether one of these files has not been applied to any tenant as it is now. */
  hasNew(until: Migration | undefined): boolean {
    const last = until === undefined ? this.migrations.length : this.migrations.indexOf(until) + 1
    return this.migrations.slice(0, last).some(({ name, checksum }) => this.#known.get(name) !== checksum)
  }

  /** Whether the file in which something failed has been applied to another tenant as it is now. */
  hasWorked(error: ErrorReport): boolean {
    const migration = error.migration === undefined ? undefined : this.#byFile.get(error.migration)
    return migration !== undefined && this.#known.get(migration.name) === migration.checksum
  }
}
