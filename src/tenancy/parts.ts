import type { ResolvedConfig } from '../config/config.ts'
import type { TenantConnections } from '../connections/tenant-connections.ts'
import { TenancyError } from '../errors.ts'
import { notify } from '../events.ts'
import { onDemand } from '../on-demand.ts'
import { parseAddress, type ServerAddress } from '../postgres/address.ts'
import { AdminSessions } from '../postgres/admin-sessions.ts'
import type { ProvisioningParts } from '../provisioning/parts.ts'
import type { JobQueue } from '../queue/job-queue.ts'
import { RegistryConnection } from '../registry/connection.ts'
import type { DomainRegistry } from '../registry/domain-registry.ts'
import { ensureRegistry } from '../registry/ensure.ts'
import type { FleetCensus } from '../registry/fleet-census.ts'
import type { FleetRegistry } from '../registry/fleet-registry.ts'
import type { RunLedger } from '../registry/run-ledger.ts'
import type { SchemaFingerprints } from '../registry/schema-fingerprints.ts'
import { Servers } from '../registry/servers.ts'
import { TenantRegistry } from '../registry/tenant-registry.ts'
import type { Cipher } from '../secrets/cipher.ts'
import { createCipher } from '../secrets/provider.ts'
import { Secret } from '../secrets/secret.ts'
import { ServerTurns } from '../turns.ts'

/** All that a tenancy is made of. */
export interface Parts extends ProvisioningParts {
  /** Pooled connections to tenants, opened by whoever first wants one. */
  connections(): Promise<TenantConnections>
  /** Ends this process's pooled connections to a tenant, if there are any. */
  letGo(tenantId: string): Promise<void>
  domains: DomainRegistry
  fleet: FleetRegistry
  census: FleetCensus
  ledger: RunLedger
  fingerprints: SchemaFingerprints
  jobs: JobQueue
  /** Of the runs of this process, at the tenants of each server. */
  visits: ServerTurns<string>
  close(): Promise<void>
}

/** Opens the parts in the order in which they need each other; nothing stays open when one fails. */
async function openParts(config: ResolvedConfig): Promise<Parts> {
  const { address, keys } = await reachRegistry(config)
  const connection = new RegistryConnection(address)
  try {
    const registryId = await ensureRegistry(connection, config.onEvent)
    const cipher = createCipher(keys, config.encryption.provider)
    const registry = new TenantRegistry(connection, cipher)
    const servers = new Servers(address, config.servers, config.connections.via)
    const admins = new AdminSessions()
    const tables = registryTables(connection, cipher)
    let jobs: JobQueue | undefined
    let connections: Promise<TenantConnections> | undefined
    return {
      registryId,
      registry,
      ...tables,
      servers,
      admins,
      visits: new ServerTurns(),
      config,
      connections: () => {
        connections ??= import('../connections/tenant-connections.ts').then(
          loaded => new loaded.TenantConnections(registry, tables.domains, servers, config),
        )
        return connections
      },
      letGo: async tenantId => (await connections)?.release(tenantId),
      jobs: onDemand(async () => {
        jobs = new (await import('../queue/job-queue.ts')).JobQueue(connection)
        return jobs
      }),
      ...filesOf(config),
      close: async () => {
        await jobs?.close()
        await (await connections)?.close()
        await admins.close()
        await connection.close()
      },
    }
  } catch (error) {
    await connection.close()
    throw error
  }
}

/** What the tables of the registry are read and written by. Most programs need few of them. */
function registryTables(connection: RegistryConnection, cipher: Cipher) {
  return {
    checksums: onDemand(async () => new (await import('../registry/file-checksums.ts')).FileChecksums(connection)),
    retained: onDemand(async () => new (await import('../registry/retained-tenants.ts')).RetainedTenants(connection)),
    passwords: onDemand(
      async () => new (await import('../registry/tenant-passwords.ts')).TenantPasswords(connection, cipher),
    ),
    sealed: onDemand(
      async () => new (await import('../registry/sealed-passwords.ts')).SealedPasswords(connection, cipher),
    ),
    domains: onDemand(async () => new (await import('../registry/domain-registry.ts')).DomainRegistry(connection)),
    journal: onDemand(async () => new (await import('../registry/operation-journal.ts')).OperationJournal(connection)),
    fleet: onDemand(async () => new (await import('../registry/fleet-registry.ts')).FleetRegistry(connection, cipher)),
    census: onDemand(async () => new (await import('../registry/fleet-census.ts')).FleetCensus(connection)),
    ledger: onDemand(async () => new (await import('../registry/run-ledger.ts')).RunLedger(connection)),
    fingerprints: onDemand(
      async () => new (await import('../registry/schema-fingerprints.ts')).SchemaFingerprints(connection),
    ),
    unfinished: onDemand(async () => new (await import('../registry/unfinished.ts')).UnfinishedOperations(connection)),
    inventory: onDemand(
      async () => new (await import('../registry/inventory.ts')).RegistryInventory(connection, cipher),
    ),
    builtTemplates: onDemand(
      async () => new (await import('../registry/built-templates.ts')).BuiltTemplates(connection),
    ),
    refusedTemplates: onDemand(
      async () => new (await import('../registry/refused-templates.ts')).RefusedTemplates(connection),
    ),
    ready: onDemand(async () => new (await import('../registry/ready-tenants.ts')).ReadyTenants(connection)),
  }
}

function filesOf({ migrations, seeds }: ResolvedConfig): Pick<Parts, 'migrations' | 'seeds' | 'companions'> {
  const source = () => import('../migrations/source.ts')
  return {
    migrations: once(async () =>
      (await source()).readMigrations(migrations.directory, { mayBeMissing: !migrations.explicit }),
    ),
    seeds: once(async () => (await source()).readSeeds(seeds.directory, { mayBeMissing: !seeds.explicit })),
    companions: once(async () => (await source()).hashCompanions([migrations.directory, seeds.directory])),
  }
}

async function reachRegistry(config: ResolvedConfig): Promise<{ address: ServerAddress; keys: readonly Secret[] }> {
  const { registry, encryption } = config
  if (registry.kind === 'url') return { address: parseAddress(registry.url), keys: encryption.keys }
  const [{ embeddedServer }, { embeddedEncryptionKey }] = await Promise.all([
    import('../embedded/server.ts'),
    import('../embedded/encryption-key.ts'),
  ])
  const server = embeddedServer(registry.directory)
  const before = await server.status()
  if (before.state !== 'running') {
    // Seconds, the first time.
    const message = 'starting the embedded PostgreSQL'
    notify(config.onEvent, { event: 'notice', message, verbose: true })
  }
  const { url, port, version } = await server.start()
  if (before.state !== 'running') {
    const message = `started PostgreSQL ${version} on 127.0.0.1:${port}`
    notify(config.onEvent, { event: 'server_started', server: 'default', message })
  }
  const keys =
    encryption.keys.length > 0 ? encryption.keys : [new Secret(await embeddedEncryptionKey(registry.directory))]
  return { address: { ...parseAddress(new Secret(url)), database: registryDatabase, sslmode: 'disable' }, keys }
}

/** In the embedded server, where no URL names it. */
const registryDatabase = 'tenantctl'

/** One reading of the files serves a whole run; what could not be read is read again. */
function once<T>(read: () => Promise<T>): () => Promise<T> {
  let reading: Promise<T> | undefined
  return () => {
    reading ??= read().catch(error => {
      reading = undefined
      throw error
    })
    return reading
  }
}

/** A tenancy's parts, opened by whoever needs them first. */
export class LazyParts {
  #opening: Promise<Parts> | undefined
  #closed = false

  constructor(readonly config: ResolvedConfig) {}

  async get(): Promise<Parts> {
    if (this.#closed) throw new TenancyError('CLOSED', 'the tenancy was closed')
    // What failed is tried again: a server may come up later.
    this.#opening ??= openParts(this.config).catch(error => {
      this.#opening = undefined
      throw error
    })
    return this.#opening
  }

  async close(): Promise<void> {
    this.#closed = true
    const parts = await this.#opening?.catch(() => undefined)
    await parts?.close()
  }
}
