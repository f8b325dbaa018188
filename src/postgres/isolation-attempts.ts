import { type Client, withTransaction } from './connect.ts'
import { quoteIdentifier } from './identifiers.ts'
import { query } from './query.ts'
import { sqlstate, sqlstateOf } from './sqlstate.ts'

/** Somebody else's things, for an attempt to reach them. */
interface Surroundings {
  database: string
  role: string
  /** Role of the admin. */
  admin: string
  neighbourDatabase: string | undefined
  neighbourRole: string | undefined
}

export interface Attempt {
  /** What was tried, as in "it can …". */
  what: string
  /** `unclear`: it failed for another reason than a lack of rights. */
  outcome: 'refused' | 'succeeded' | 'unclear'
  message: string | undefined
}

interface Statement {
  what: string
  text: string
  /** Cannot run in a transaction; must fail for another reason when it is allowed. */
  outside?: true
}

/**
 * Tries what a tenant's login must not be able to do. Everything runs in a transaction that is rolled back, or cannot
 * succeed for want of what it names; timeouts keep it from waiting for anybody.
 */
export async function attemptEscapes(client: Client, around: Surroundings): Promise<Attempt[]> {
  const attempts: Attempt[] = []
  for (const statement of statements(around)) attempts.push(await attempt(client, statement))
  attempts.push(await attemptGrant(client, around))
  return attempts
}

function statements({ database, role, admin, neighbourDatabase, neighbourRole }: Surroundings): Statement[] {
  const own = quoteIdentifier(database)
  const self = quoteIdentifier(role)
  const nowhere = '"tenantctl isolation test, no such template"'
  return [
    { what: 'lift the connection limit of its database', text: `ALTER DATABASE ${own} CONNECTION LIMIT 1000` },
    { what: 'change settings of its database', text: `ALTER DATABASE ${own} SET search_path = public` },
    { what: 'give its database away', text: `ALTER DATABASE ${own} OWNER TO ${self}` },
    { what: 'make itself a superuser', text: `ALTER ROLE ${self} SUPERUSER` },
    { what: 'let itself make databases', text: `ALTER ROLE ${self} CREATEDB` },
    { what: 'let itself make roles', text: `ALTER ROLE ${self} CREATEROLE` },
    { what: 'let itself pass by row security', text: `ALTER ROLE ${self} BYPASSRLS` },
    { what: 'lift its own connection limit', text: `ALTER ROLE ${self} CONNECTION LIMIT -1` },
    { what: 'make a role', text: 'CREATE ROLE "tenantctl isolation test"' },
    {
      what: 'make a database',
      text: `CREATE DATABASE "tenantctl isolation test" TEMPLATE ${nowhere}`,
      outside: true,
    },
    { what: `act as the admin "${admin}"`, text: `SET LOCAL ROLE ${quoteIdentifier(admin)}` },
    { what: `become the admin "${admin}"`, text: `SET LOCAL SESSION AUTHORIZATION ${quoteIdentifier(admin)}` },
    { what: 'read passwords of roles', text: 'SELECT rolpassword FROM pg_catalog.pg_authid LIMIT 1' },
    { what: 'read files of the server', text: `SELECT pg_catalog.pg_read_file('PG_VERSION')` },
    { what: 'list files of the server', text: `SELECT pg_catalog.pg_ls_dir('.')` },
    { what: 'load files of the server', text: `SELECT pg_catalog.lo_import('PG_VERSION')` },
    {
      what: 'copy files of the server',
      text: "CREATE TEMPORARY TABLE isolation_test (line text); COPY isolation_test FROM 'PG_VERSION'",
    },
    { what: 'write files on the server', text: `COPY (SELECT 1) TO '/dev/null'` },
    { what: 'run programs on the server', text: `COPY (SELECT 1) TO PROGRAM 'cat > /dev/null'` },
    { what: 'switch off triggers', text: 'SET LOCAL session_replication_role = replica' },
    { what: 'read the registry', text: 'SELECT FROM tenantctl.tenants LIMIT 1' },
    ...(neighbourRole === undefined
      ? []
      : [
          {
            what: `act as its neighbour "${neighbourRole}"`,
            text: `SET LOCAL ROLE ${quoteIdentifier(neighbourRole)}`,
          },
          {
            what: `shut its neighbour "${neighbourRole}" out`,
            text: `ALTER ROLE ${quoteIdentifier(neighbourRole)} NOLOGIN`,
          },
        ]),
    ...(neighbourDatabase === undefined
      ? []
      : [
          {
            what: `change its neighbour's database "${neighbourDatabase}"`,
            text: `ALTER DATABASE ${quoteIdentifier(neighbourDatabase)} CONNECTION LIMIT 1000`,
          },
        ]),
  ]
}

/** SQLSTATEs of what is not allowed, or not even there. */
const refusals: string[] = [sqlstate.insufficientPrivilege, sqlstate.invalidSchemaName, sqlstate.undefinedTable]

async function attempt(client: Client, { what, text, outside }: Statement): Promise<Attempt> {
  try {
    if (outside) await query(client, what, text)
    else await rolledBack(client, () => query(client, what, text))
    return { what, outcome: 'succeeded', message: undefined }
  } catch (error) {
    const state = sqlstateOf(error) ?? ''
    const { message } = error as Error
    if (refusals.includes(state)) return { what, outcome: 'refused', message }
    // The right to do it is looked at before what it names.
    if (outside && state === sqlstate.unknownDatabase) return { what, outcome: 'succeeded', message: undefined }
    return { what, outcome: 'unclear', message }
  }
}

/** A GRANT without the right to grant is a mere WARNING: what it did has to be looked at. */
async function attemptGrant(client: Client, { database }: Surroundings): Promise<Attempt> {
  const what = 'open its database to everybody'
  const isOpen = async () => {
    const text = `SELECT FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a
                   WHERE d.datname = $1 AND a.grantee = 0 AND a.privilege_type = 'CONNECT'`
    return (await query(client, what, text, [database])).length > 0
  }
  try {
    const opened = await rolledBack(client, async () => {
      // Somebody else may have opened it, which is not this tenant's doing.
      if (await isOpen()) return false
      await query(client, what, `GRANT CONNECT ON DATABASE ${quoteIdentifier(database)} TO PUBLIC`)
      return isOpen()
    })
    return { what, outcome: opened ? 'succeeded' : 'refused', message: undefined }
  } catch (error) {
    const refused = refusals.includes(sqlstateOf(error) ?? '')
    return { what, outcome: refused ? 'refused' : 'unclear', message: (error as Error).message }
  }
}

class RolledBack extends Error {
  constructor(readonly result: unknown) {
    super()
  }
}

async function rolledBack<T>(client: Client, work: () => Promise<T>): Promise<T> {
  try {
    return await withTransaction(client, async () => {
      throw new RolledBack(await work())
    })
  } catch (error) {
    if (error instanceof RolledBack) return error.result as T
    throw error
  }
}

/** Databases that the login may enter as far as the catalog says, but its own. */
export async function enterableDatabases(client: Client): Promise<string[]> {
  const rows = await query<{ name: string }>(
    client,
    'listing the databases that it may enter',
    `SELECT datname::text AS name FROM pg_catalog.pg_database
      WHERE datallowconn AND datname <> pg_catalog.current_database()
        AND pg_catalog.has_database_privilege(current_user, oid, 'CONNECT') ORDER BY 1`,
  )
  return rows.map(row => row.name)
}
