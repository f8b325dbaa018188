import pg from 'pg'

export type Row = Record<string, unknown>

/** Runs one query on a connection of its own and gives back the rows. */
export async function sql<R extends object = Row>(url: string, text: string, values?: unknown[]): Promise<R[]> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'tenantctl-test',
    connectionTimeoutMillis: 10_000,
  })
  await client.connect()
  try {
    const result: unknown = await client.query(text, values)
    const last = (Array.isArray(result) ? result.at(-1) : result) as pg.QueryResult<R>
    return last.rows
  } finally {
    await client.end()
  }
}

/** The error of a query that must fail; throws when it does not. */
export async function sqlError(
  url: string,
  text: string,
  values?: unknown[],
): Promise<{ code: string; message: string }> {
  const rows = await sql(url, text, values).catch((error: unknown) => error)
  if (!(rows instanceof Error)) throw new Error(`not refused: ${text}`)
  return failure(rows)
}

export type Login = { ok: true; user: string; database: string } | { ok: false; code: string; message: string }

/** Logs in and out; a refusal is an answer, not an error. `code` is the SQLSTATE or the system's code. */
export async function tryLogin(url: string): Promise<Login> {
  try {
    const [row] = await sql<{ user: string; database: string }>(
      url,
      'select current_user as "user", current_database() as "database"',
    )
    if (row === undefined) throw new Error('the server gave no row')
    return { ok: true, ...row }
  } catch (error) {
    return { ok: false, ...failure(error) }
  }
}

/** The same server under another database, user or password. */
export function urlWith(url: string, parts: { database?: string; user?: string; password?: string }): string {
  const changed = new URL(url)
  if (parts.database !== undefined) changed.pathname = `/${encodeURIComponent(parts.database)}`
  if (parts.user !== undefined) changed.username = encodeURIComponent(parts.user)
  if (parts.password !== undefined) changed.password = encodeURIComponent(parts.password)
  return changed.href
}

function failure(error: unknown): { code: string; message: string } {
  const { code, message } = error as { code?: string; message?: string }
  return { code: code ?? 'unknown', message: message ?? String(error) }
}
