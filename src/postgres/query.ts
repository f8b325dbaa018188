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

/**
 * Several statements with one way to the server, without parameters; the rows of the last one. Without a BEGIN among
 * them they are one transaction (manual, Multiple Statements in a Simple Query).
 */
export async function queryTogether<Row>(client: Client, doing: string, texts: readonly string[]): Promise<Row[]> {
  return ((await queryEach(client, doing, texts)).at(-1) ?? []) as Row[]
}

/** The same; the rows of each. */
export async function queryEach(client: Client, doing: string, texts: readonly string[]): Promise<object[][]> {
  try {
    const results: unknown = await client.query(texts.join(';\n'))
    return (Array.isArray(results) ? results : [results]).map(({ rows }: { rows: object[] }) => rows)
  } catch (error) {
    throw toTenancyError(error, doing)
  }
}
