import { TenancyError } from '../errors.ts'
import type { ServerAddress } from '../postgres/address.ts'
import { libpqEnvironment } from '../postgres/libpq-environment.ts'
import { lastLine } from './dump-file.ts'
import { runTool } from './run-tool.ts'
import type { ClientTools } from './tools.ts'

/** A table that somebody keeps locked must not keep us for ever. */
const lockWait = '60s'

/** Writes a database in pg_dump's custom format to a file descriptor, acting as `role`. Throws `BACKUP_FAILED`. */
export async function dumpDatabase(
  tools: ClientTools,
  address: ServerAddress,
  options: { role: string; descriptor: number; signal: AbortSignal | undefined },
): Promise<void> {
  const args = ['--format=custom', '--no-password', `--role=${options.role}`, `--lock-wait-timeout=${lockWait}`]
  const { exitCode, stderr } = await runTool(tools.pgDump, args, {
    env: libpqEnvironment(address),
    stdout: options.descriptor,
    signal: options.signal,
  })
  if (exitCode === 0) return
  throw new TenancyError('BACKUP_FAILED', `pg_dump ${tools.version}: ${lastLine(stderr)}`, {
    hint: /row-level security/.test(stderr)
      ? 'a table with FORCE ROW LEVEL SECURITY hides rows from its own owner: take that off it, then drop the tenant again'
      : undefined,
    detail: stderr.trim(),
  })
}

/**
 * Restores the listed entries of a dump into an empty database, all of them or none. They run with the rights of the
 * login that `address` names. Throws `BACKUP_FAILED`.
 */
export async function restoreDump(
  tools: ClientTools,
  address: ServerAddress,
  options: { file: string; list: string; role: string; signal: AbortSignal | undefined },
): Promise<void> {
  const args = [
    // Owners and privileges are those of the tenant that it becomes, not of the one that it was.
    ...['--no-owner', '--no-privileges', '--no-tablespaces', '--exit-on-error', '--single-transaction'],
    ...['--no-password', `--role=${options.role}`, `--use-list=${options.list}`],
    // A plain name with = or :// in it would be read as more than a name.
    `--dbname=dbname='${address.database.replace(/[\\']/g, '\\$&')}'`,
    options.file,
  ]
  const { exitCode, stderr } = await runTool(tools.pgRestore, args, {
    env: libpqEnvironment(address),
    signal: options.signal,
  })
  if (exitCode === 0) return
  const extension = /permission denied to create extension "([^"]+)"/.exec(stderr)?.[1]
  throw new TenancyError('BACKUP_FAILED', `pg_restore ${tools.version}: ${lastLine(stderr)}`, {
    hint: extension === undefined ? undefined : `a tenant may not create it: add "${extension}" to database.extensions`,
    detail: stderr.trim(),
  })
}

/**
 * The entries to restore: not what a tenant's database has already and only its admin may change, its schema public
 * and the comments on its extensions, nor what belongs to the database as a whole. `schemas` are there as well.
 */
export function entriesToRestore(listing: readonly string[], schemas: readonly string[] = []): string {
  const entry = /^\d+; \d+ \d+ (.*)$/
  const left =
    /^(SCHEMA - public |COMMENT - SCHEMA public |COMMENT - EXTENSION |DATABASE |DATABASE PROPERTIES |(COMMENT|SECURITY LABEL) - DATABASE )/
  const wanted = (text: string | undefined) =>
    text !== undefined && !left.test(text) && !schemas.some(schema => text.startsWith(`SCHEMA - ${schema} `))
  return listing.filter(line => wanted(entry.exec(line)?.[1])).join('\n')
}
