import type { Client } from './connect.ts'
import { type Database, databasesText } from './databases.ts'
import { quoteArray } from './identifiers.ts'
import { queryEach } from './query.ts'
import { rolesText } from './roles.ts'

/** Databases in the order of their names, undefined where there is none; and those of the names that roles have. */
export async function lookUp(
  client: Client,
  { databases, roles }: { databases: readonly string[]; roles: readonly string[] },
): Promise<{ databases: (Database | undefined)[]; roles: string[] }> {
  const doing = `looking up ${[...databases, ...roles].map(name => `"${name}"`).join(', ')}`
  const texts = [databasesText(quoteArray(databases)), rolesText(quoteArray(roles))]
  const [found, named] = (await queryEach(client, doing, texts)) as [
    (Database & { name: string })[],
    { name: string }[],
  ]
  return {
    databases: databases.map(name => found.find(each => each.name === name)),
    roles: named.map(({ name }) => name),
  }
}
