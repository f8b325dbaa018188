import { quoteIdentifier, quoteLiteral } from './identifiers.ts'

/*
 * Statements that put a server right, as text: the doctor shows them, and runs those that are safe.
 */

const grantee = (name: string) => (name === 'PUBLIC' ? name : quoteIdentifier(name))

export const remedyText = {
  revokeDatabase: (database: string, from: string, privileges: readonly string[] = ['ALL']) =>
    `REVOKE ${privileges.join(', ')} ON DATABASE ${quoteIdentifier(database)} FROM ${grantee(from)};`,

  grantDatabase: (database: string, to: readonly string[], privileges: readonly string[]) =>
    `GRANT ${privileges.join(', ')} ON DATABASE ${quoteIdentifier(database)} TO ${to.map(grantee).join(', ')};`,

  revokeSchemaPublic: () => 'REVOKE CREATE ON SCHEMA public FROM PUBLIC;',

  ownDatabase: (database: string, owner: string) =>
    `ALTER DATABASE ${quoteIdentifier(database)} OWNER TO ${quoteIdentifier(owner)};`,

  renameDatabase: (database: string, to: string) =>
    `ALTER DATABASE ${quoteIdentifier(database)} RENAME TO ${quoteIdentifier(to)};`,

  renameRole: (role: string, to: string) => `ALTER ROLE ${quoteIdentifier(role)} RENAME TO ${quoteIdentifier(to)};`,

  markDatabase: (database: string, marker: string) =>
    `COMMENT ON DATABASE ${quoteIdentifier(database)} IS ${quoteLiteral(marker)};`,

  markRole: (role: string, marker: string) => `COMMENT ON ROLE ${quoteIdentifier(role)} IS ${quoteLiteral(marker)};`,

  roleAttributes: (role: string, attributes: readonly string[]) =>
    `ALTER ROLE ${quoteIdentifier(role)} ${attributes.join(' ')};`,

  revokeRole: (role: string, from: string) => `REVOKE ${quoteIdentifier(role)} FROM ${quoteIdentifier(from)};`,

  /** From PostgreSQL 16 on, membership comes in three parts. */
  grantRole: (role: string, to: string, version: number) =>
    `GRANT ${quoteIdentifier(role)} TO ${quoteIdentifier(to)}${
      version >= 160000 ? ' WITH ADMIN TRUE, INHERIT TRUE, SET TRUE' : ''
    };`,

  dropRole: (role: string) => `DROP ROLE ${quoteIdentifier(role)};`,

  rollBackPrepared: (gid: string) => `ROLLBACK PREPARED ${quoteLiteral(gid)};`,

  setSystem: (name: string, value: string) =>
    `ALTER SYSTEM SET ${name} = ${quoteLiteral(value)}; SELECT pg_reload_conf();`,
}
