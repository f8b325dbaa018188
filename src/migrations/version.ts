import { createHash } from 'node:crypto'

/** The registry's copy of a database's history: its last migration, and a hash over the names of all of them. */
export function versionOf(applied: readonly string[]): { name: string | null; hash: string } {
  const hash = createHash('sha256')
    .update([...applied].sort().join('\n'))
    .digest('hex')
    .slice(0, 32)
  return { name: applied.at(-1) ?? null, hash }
}
