import { open, readFile } from 'node:fs/promises'
import * as v from 'valibot'
import { TenancyError } from '../errors.ts'

const description = v.object({
  format: v.literal('tenantctl-dump-1'),
  tenant: v.object({
    id: v.string(),
    slug: v.string(),
    name: v.string(),
    labels: v.record(v.string(), v.string()),
    server: v.string(),
    database: v.string(),
    username: v.string(),
    roles: v.picklist(['single', 'separate']),
    schemaVersion: v.nullable(v.string()),
    createdAt: v.string(),
  }),
  /** Names of the applied migrations, oldest first. */
  migrations: v.array(v.string()),
  /** Extensions that the database had. */
  extensions: v.array(v.string()),
  /** As in server_version_num. */
  serverVersion: v.number(),
  /** Major version of the pg_dump that wrote it. */
  toolVersion: v.number(),
  takenAt: v.string(),
  sizeBytes: v.number(),
  sha256: v.string(),
})

/** What a dump itself does not tell of its tenant: a JSON file beside it, without a secret. */
export type DumpDescription = v.InferOutput<typeof description>

export function descriptionFile(dump: string): string {
  return `${dump}.json`
}

/** Written before the dump gets its name, so that a finished dump has one. */
export async function writeDescription(dump: string, content: DumpDescription): Promise<void> {
  const handle = await open(descriptionFile(dump), 'wx', 0o600)
  try {
    await handle.writeFile(`${JSON.stringify(content, null, 2)}\n`)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Undefined for a dump that pg_dump alone has made. Throws `INPUT_INVALID`. */
export async function readDescription(dump: string): Promise<DumpDescription | undefined> {
  const file = descriptionFile(dump)
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new TenancyError('INPUT_INVALID', `cannot read ${file}`, { cause: error })
  }
  try {
    return v.parse(description, JSON.parse(text))
  } catch (error) {
    throw new TenancyError('INPUT_INVALID', `${file} is not what \`tenantctl drop --backup\` wrote`, {
      hint: 'move it away, and the dump is restored with what the command line says',
      cause: error,
    })
  }
}
