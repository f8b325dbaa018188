import type { Secret } from '../secrets/secret.ts'
import { type Client, withTransaction } from './connect.ts'
import { quoteIdentifier, quoteLiteral } from './identifiers.ts'
import { query, queryTogether } from './query.ts'
import type { AdminFacts } from './server.ts'

export interface Role {
  oid: number
  canLogin: boolean
  superuser: boolean
  connectionLimit: number
  /** COMMENT ON ROLE: who made it. Only a role with rights over it can write one. */
  marker: string | null
}

export async function findRole(client: Client, name: string): Promise<Role | undefined> {
  const [role] = await query<Role>(
    client,
    `looking up role "${name}"`,
    `SELECT oid, rolcanlogin AS "canLogin", rolsuper AS superuser, rolconnlimit AS "connectionLimit",
            pg_catalog.shobj_description(oid, 'pg_authid') AS marker
       FROM pg_catalog.pg_roles WHERE rolname = $1`,
    [name],
  )
  return role
}

/** SQL for which of an array of names are roles'. */
export function rolesText(names: string): string {
  return `SELECT rolname::text AS name FROM pg_catalog.pg_roles WHERE rolname = ANY(${names}::text[])`
}

/** One to be made. */
export interface NewRole {
  name: string
  /** Without one, it cannot log in. */
  verifier: Secret | undefined
  marker: string
  connectionLimit: number
}

/**
 * Makes roles with their markers in one transaction, so that what a crash leaves is known to be ours, and makes
 * the admin a member of them unless it is a superuser: only members may hand objects to a role or end its sessions.
 */
export async function createRoles(client: Client, admin: AdminFacts, roles: readonly NewRole[]): Promise<void> {
  const doing = `creating role ${roles.map(({ name }) => `"${name}"`).join(', ')}`
  const statements = roles.flatMap(role => createRoleTexts(admin, role))
  const silent = silence(admin)
  if (silent.length === 0) await queryTogether(client, doing, statements)
  // COMMIT comes by itself: at the end of what is sent with it, the log would be loud again.
  else await withTransaction(client, () => queryTogether(client, doing, statements), silent)
}

function createRoleTexts(admin: AdminFacts, { name, verifier, marker, connectionLimit }: NewRole): string[] {
  const role = quoteIdentifier(name)
  const login = verifier ? `LOGIN PASSWORD ${quoteLiteral(verifier.reveal())}` : 'NOLOGIN'
  return [
    `CREATE ROLE ${role} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
       CONNECTION LIMIT ${connectionLimit} ${login}`,
    `COMMENT ON ROLE ${role} IS ${quoteLiteral(marker)}`,
    // From PostgreSQL 16 on, a role's maker is its member with ADMIN only (manual, 22.4).
    ...(admin.superuser ? [] : [grantRoleText(admin, name, admin.user)]),
  ]
}

/** COMMENT ON ROLE. */
export async function markRole(client: Client, name: string, marker: string): Promise<void> {
  const statement = `COMMENT ON ROLE ${quoteIdentifier(name)} IS ${quoteLiteral(marker)}`
  await query(client, `marking role "${name}"`, statement)
}

/** Makes `member` one who may act as `role` and has its rights. */
export async function grantRole(client: Client, admin: AdminFacts, role: string, member: string): Promise<void> {
  await query(client, `making "${member}" a member of role "${role}"`, grantRoleText(admin, role, member))
}

export function grantRoleText(admin: AdminFacts, role: string, member: string): string {
  const options = admin.version >= 160000 ? 'WITH INHERIT TRUE, SET TRUE' : ''
  return `GRANT ${quoteIdentifier(role)} TO ${quoteIdentifier(member)} ${options}`
}

/** Before PostgreSQL 16 a role may end any membership in itself (manual, REVOKE): the admin makes itself a member again. */
export async function ensureMembership(client: Client, admin: AdminFacts, role: string): Promise<void> {
  if (admin.superuser || admin.version >= 160000 || (await isMember(client, role, admin.user))) return
  await grantRole(client, admin, role, admin.user)
}

async function isMember(client: Client, role: string, member: string): Promise<boolean> {
  const text = `SELECT ${isMemberText('$1', '$2')} AS member`
  const [row] = await query<{ member: boolean }>(client, `asking for the members of role "${role}"`, text, [
    role,
    member,
  ])
  return row?.member === true
}

/** Returns whether it is a member all the same: revoking what somebody else has granted is a mere WARNING. */
export async function revokeRole(client: Client, role: string, member: string): Promise<boolean> {
  const [row] = await queryTogether<{ member: boolean }>(
    client,
    `ending the membership of "${member}" in role "${role}"`,
    [
      `REVOKE ${quoteIdentifier(role)} FROM ${quoteIdentifier(member)}`,
      `SELECT ${isMemberText(quoteLiteral(role), quoteLiteral(member))} AS member`,
    ],
  )
  return row?.member === true
}

/** Of two names as SQL has them, whether the second is a member of the first. */
export function isMemberText(role: string, member: string): string {
  return `COALESCE(pg_catalog.pg_has_role(${roleText(member)}, ${roleText(role)}, 'MEMBER'), false)`
}

/** Of a name as SQL has it, the role's oid; NULL where there is none. */
export function roleText(name: string): string {
  return `pg_catalog.to_regrole(pg_catalog.quote_ident(${name}))::oid`
}

/** Nobody can log in as it again, not even who knew its password. */
export async function retireRole(client: Client, name: string): Promise<void> {
  await query(client, `retiring role "${name}"`, `ALTER ROLE ${quoteIdentifier(name)} NOLOGIN PASSWORD NULL`)
}

/** In that database, the login acts as `role` from its first statement on. */
export async function actAs(client: Client, login: string, database: string, role: string): Promise<void> {
  await query(client, `making "${login}" act as "${role}"`, actAsText(login, database, role))
}

export function actAsText(login: string, database: string, role: string): string {
  return `ALTER ROLE ${quoteIdentifier(login)} IN DATABASE ${quoteIdentifier(database)} SET role = ${quoteLiteral(role)}`
}

export async function setRolePassword(
  client: Client,
  admin: AdminFacts,
  name: string,
  verifier: Secret,
): Promise<void> {
  const statement = `ALTER ROLE ${quoteIdentifier(name)} PASSWORD ${quoteLiteral(verifier.reveal())}`
  await withTransaction(
    client,
    () => query(client, `setting the password of role "${name}"`, statement),
    silence(admin),
  )
}

/** Lets a role log in that could not, with its first password. Within the caller's transaction. */
export async function openRole(
  client: Client,
  admin: AdminFacts,
  { name, verifier, connectionLimit }: { name: string; verifier: Secret; connectionLimit: number },
): Promise<void> {
  const silent = silence(admin)
  if (silent.length > 0) await queryTogether(client, 'silencing the log', silent)
  await query(
    client,
    `letting role "${name}" log in`,
    `ALTER ROLE ${quoteIdentifier(name)} LOGIN PASSWORD ${quoteLiteral(verifier.reveal())} CONNECTION LIMIT ${connectionLimit}`,
  )
}

export async function setRoleLogin(client: Client, name: string, login: boolean): Promise<void> {
  await query(
    client,
    `${login ? 'allowing' : 'ending'} logins of role "${name}"`,
    `ALTER ROLE ${quoteIdentifier(name)} ${login ? 'LOGIN' : 'NOLOGIN'}`,
  )
}

/** A SCRAM password stays; an MD5 one would be lost (manual, ALTER ROLE). */
export async function renameRole(client: Client, from: string, to: string): Promise<void> {
  await query(
    client,
    `renaming role "${from}" to "${to}"`,
    `ALTER ROLE ${quoteIdentifier(from)} RENAME TO ${quoteIdentifier(to)}`,
  )
}

export async function dropRole(client: Client, name: string): Promise<void> {
  await query(client, `dropping role "${name}"`, `DROP ROLE IF EXISTS ${quoteIdentifier(name)}`)
}

/** A verifier allows guessing offline: where the admin may, it stays out of the log and the statistics as well. */
function silence(admin: AdminFacts): string[] {
  if (!admin.superuser) return []
  return [
    'SET LOCAL log_statement TO none',
    'SET LOCAL log_min_duration_statement TO -1',
    'SET LOCAL log_min_error_statement TO panic',
  ]
}
