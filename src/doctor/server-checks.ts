import { remedyText } from '../postgres/remedy-text.ts'
import type { Finding } from './finding.ts'
import type { ServerSnapshot } from './snapshot.ts'

const oldestVersion = 140000
/** A fleet run holds up to eight connections, and the registry's pool four. */
const wantedConnections = 12
/** Autovacuum starts a worker every naptime / databases, and no sooner than after 0.1 s (manual, 25.1.6). */
const secondsPerDatabase = 0.1
const oldPreparedSeconds = 300

type Check = (server: ServerSnapshot) => Omit<Finding, 'check' | 'server'> | Omit<Finding, 'check' | 'server'>[]

/** What a server must be and offer; one line each when all is well. */
export const serverChecks: Record<string, Check> = {
  version({ facts: { version } }) {
    const name = `PostgreSQL ${Math.floor(version / 10_000)}.${version % 10_000}`
    if (version >= oldestVersion) return { status: 'ok', message: name }
    return { status: 'problem', message: `${name} is too old: tenantctl needs 14 or newer` }
  },

  standby({ facts }) {
    if (!facts.readOnly) return []
    return {
      status: 'problem',
      message: 'this is a standby: nothing can be changed on it, give the address of the primary',
    }
  },

  admin({ facts: { user, superuser, createdb, createrole } }) {
    if (superuser) return { status: 'ok', message: `role "${user}" is a superuser` }
    const missing = [...(createdb ? [] : ['CREATEDB']), ...(createrole ? [] : ['CREATEROLE'])]
    if (missing.length === 0) return { status: 'ok', message: `role "${user}" may create databases and roles` }
    return {
      status: 'problem',
      message: `role "${user}" lacks ${missing.join(' and ')}: it cannot make tenants`,
      fix: remedyText.roleAttributes(user, missing),
    }
  },

  pooler({ pooler }) {
    if (pooler === 'none') return []
    const message =
      pooler === 'transaction'
        ? 'a pooler in transaction mode stands in between: locks do not hold, give the address of PostgreSQL itself'
        : 'a pooler stands in between: better give the address of PostgreSQL itself'
    return { status: pooler === 'transaction' ? 'problem' : 'warning', message }
  },

  connections({ facts: { maxConnections, usedConnections } }) {
    const free = maxConnections - usedConnections
    const message = `${usedConnections} of ${maxConnections} connections are in use`
    if (free >= wantedConnections && usedConnections < 0.9 * maxConnections) return { status: 'ok', message }
    return {
      status: free < 3 ? 'problem' : 'warning',
      message,
      fix: `${remedyText.setSystem('max_connections', String(Math.ceil((maxConnections * 1.5) / 100) * 100))} -- then restart`,
    }
  },

  autovacuum({ facts: { autovacuum, autovacuumNaptime }, databases }) {
    if (!autovacuum) {
      return {
        status: 'warning',
        message: 'autovacuum is off: tables bloat, and transaction ids run out',
        fix: remedyText.setSystem('autovacuum', 'on'),
      }
    }
    const round = Math.ceil(databases.size * secondsPerDatabase)
    if (round <= autovacuumNaptime) return []
    return {
      status: 'warning',
      message: `autovacuum_naptime is ${autovacuumNaptime} s, but a round over ${databases.size} databases takes at least ${round} s`,
      fix: remedyText.setSystem('autovacuum_naptime', `${round}s`),
    }
  },

  'password-encryption'({ facts: { passwordEncryption } }) {
    if (passwordEncryption === 'scram-sha-256') return []
    return {
      status: 'warning',
      message: `password_encryption is ${passwordEncryption}: a password that a tenant sets itself is stored weakly`,
      fix: remedyText.setSystem('password_encryption', 'scram-sha-256'),
    }
  },

  'prepared-transactions'({ prepared }) {
    return prepared
      .filter(({ ageSeconds }) => ageSeconds >= oldPreparedSeconds)
      .map(({ gid, database, owner, ageSeconds }) => ({
        status: 'warning',
        message: `prepared transaction "${gid}" of role "${owner}" in database "${database}" is ${minutes(ageSeconds)} old: it holds its locks, and the database cannot be dropped`,
        fix: `${remedyText.rollBackPrepared(gid)} -- in database "${database}", or COMMIT PREPARED`,
      }))
  },
}

export function checkServer(server: ServerSnapshot): Finding[] {
  return Object.entries(serverChecks).flatMap(([check, run]) =>
    [run(server)].flat().map(found => ({ check, server: server.server, ...found })),
  )
}

function minutes(seconds: number): string {
  return seconds < 7200 ? `${Math.round(seconds / 60)} minutes` : `${Math.round(seconds / 3600)} hours`
}
