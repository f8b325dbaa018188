import { inject } from 'vitest'
import type { RoleModel } from '../../src/registry/roles.ts'
import { type Row, sql } from '../support/client.ts'
import type { Namespace } from '../support/namespace.ts'

export const admins = ['plain', 'superuser'] as const

export interface Setting {
  admin: (typeof admins)[number]
  roles: RoleModel
}

/** Every admin with every role model that it can make on the server of the run. */
export function everySetting(): Setting[] {
  return admins.flatMap(admin => {
    const separate = admin === 'superuser' || inject('server').major >= 15
    return [{ admin, roles: 'single' } as const, ...(separate ? [{ admin, roles: 'separate' } as const] : [])]
  })
}

/** What a tenant could have changed for others, or for itself beyond its rights: compare it before and after. */
export async function sharedCatalogs(namespace: Namespace): Promise<Row[]> {
  return sql(
    namespace.superUrl,
    `SELECT 'role' AS kind, rolname::text AS name, to_jsonb(r) - 'rolpassword' - 'rolconfig' AS state
       FROM pg_authid r WHERE rolname ~ $1
     UNION ALL
     SELECT 'password', rolname::text, to_jsonb(rolpassword) FROM pg_authid WHERE rolname ~ $1
     UNION ALL
     SELECT 'database', datname::text,
            to_jsonb(d) - ARRAY['datfrozenxid', 'datminmxid', 'dathasloginevt']
       FROM pg_database d WHERE datname ~ $1
     UNION ALL
     SELECT 'setting', COALESCE(datname::text, '') || ' ' || setrole::regrole, to_jsonb(setconfig)
       FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = setdatabase WHERE datname ~ $1 OR setrole::regrole::text ~ $1
     UNION ALL
     SELECT 'comment', classoid::regclass || ' ' || COALESCE(datname::text, rolname::text), to_jsonb(description)
       FROM pg_shdescription LEFT JOIN pg_database d ON d.oid = objoid LEFT JOIN pg_roles r ON r.oid = objoid
      WHERE datname ~ $1 OR rolname ~ $1
     UNION ALL
     SELECT 'member', roleid::regrole || ' ' || member::regrole, to_jsonb(m) - 'oid'
       FROM pg_auth_members m WHERE roleid::regrole::text ~ $1 OR member::regrole::text ~ $1
     ORDER BY 1, 2, 3`,
    [`^"?${namespace.prefix}`],
  )
}
