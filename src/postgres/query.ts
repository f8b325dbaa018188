import type { Client } from './connect.ts'
import { toTenancyError } from './sqlstate.ts'

/** One statement, its rows; an error says what was being done. */
export async function query<Row>(client: Client, doing: string, text: string, values?: unknown[]): Promise<Row[]> {
  try {
    const result = values === undefined ? await client.query(text) : await client.query(text, values)
    return result.rows as Row[]
  } catch (error) {
    throw toTenancyError(error, doing)
  }
}

/** Several statements with one way to the server, without parameters; the rows of the last one. */
export async function queryTogether<Row>(client: Client, doing: string, texts: readonly string[]): Promise<Row[]> {
  try {
    const results = await client.query(texts.join(';\n'))
    return ((Array.isArray(results) ? results.at(-1) : results) as { rows: Row[] }).rows
  } catch (error) {
    throw toTenancyError(error, doing)
  }
}
