import type { Knex } from 'knex'
import type { Client } from '../postgres/connect.ts'

/**
 * A knex whose every query, transactions and savepoints included, goes through one given connection: what a JS
 * migration does is then part of the transaction that also records it.
 */
export async function bindKnex(client: Client): Promise<Knex> {
  const { default: createKnex } = await import('knex')
  // The version is told so that knex does not ask for it.
  const knex = createKnex({ client: 'pg', version: '14' })
  const driver = knex.client as { acquireConnection(): Promise<unknown>; releaseConnection(): Promise<void> }
  Object.assign(client, { __knexUid: 'tenantctl' })
  driver.acquireConnection = async () => client
  driver.releaseConnection = async () => undefined
  return knex
}
