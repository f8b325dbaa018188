import type { ResolvedConfig } from '../config/config.ts'
import { TenantConnections } from '../connections/tenant-connections.ts'
import { TenancyError } from '../errors.ts'
import { notify } from '../events.ts'
import { hashCompanions, readMigrations, readSeeds } from '../migrations/source.ts'
import { parseAddress, type ServerAddress } from '../postgres/address.ts'
import { AdminSessions } from '../postgres/admin-sessions.ts'
import type { ProvisioningParts } from '../provisioning/parts.ts'
import { JobQueue } from '../queue/job-queue.ts'
import { BuiltTemplates } from '../registry/built-templates.ts'
import { RegistryConnection } from '../registry/connection.ts'
import { DomainRegistry } from '../registry/domain-registry.ts'
import { FileChecksums } from '../registry/file-checksums.ts'
import { FleetCensus } from '../registry/fleet-census.ts'
import { FleetRegistry } from '../registry/fleet-registry.ts'
import { ensureRegistry } from '../registry/install.ts'
import { RegistryInventory } from '../registry/inventory.ts'
import { OperationJournal } from '../registry/operation-journal.ts'
import { ReadyTenants } from '../registry/ready-tenants.ts'
import { RefusedTemplates } from '../registry/refused-templates.ts'
import { RetainedTenants } from '../registry/retained-tenants.ts'
import { RunLedger } from '../registry/run-ledger.ts'
import { SchemaFingerprints } from '../registry/schema-fingerprints.ts'
import { SealedPasswords } from '../registry/sealed-passwords.ts'
import { Servers } from '../registry/servers.ts'
import { TenantPasswords } from '../registry/tenant-passwords.ts'
import { TenantRegistry } from '../registry/tenant-registry.ts'
import { UnfinishedOperations } from '../registry/unfinished.ts'
import { createCipher } from '../secrets/provider.ts'
import { Secret } from '../secrets/secret.ts'

/** All that a tenancy is made of. */
export interface Parts extends ProvisioningParts {
  connections: TenantConnections
  domains: DomainRegistry
  fleet: FleetRegistry
  census: FleetCensus
  ledger: RunLedger
  /** All stored passwords, for a change of keys. */
  sealed: SealedPasswords
  fingerprints: SchemaFingerprints
  jobs: JobQueue
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
    const jobs = new JobQueue(connection)
    const servers = new Servers(address, config.servers, config.connections.via)
    const admins = new AdminSessions()
    const domains = new DomainRegistry(connection)
    const connections = new TenantConnections(registry, domains, servers, config)
    return {
      registryId,
      registry,
      checksums: new FileChecksums(connection),
      retained: new RetainedTenants(connection),
      passwords: new TenantPasswords(connection, cipher),
      sealed: new SealedPasswords(connection, cipher),
      servers,
      admins,
      connections,
      domains,
      config,
      journal: new OperationJournal(connection),
      fleet: new FleetRegistry(connection, cipher),
      census: new FleetCensus(connection),
      ledger: new RunLedger(connection),
      fingerprints: new SchemaFingerprints(connection),
      jobs,
      unfinished: new UnfinishedOperations(connection),
      inventory: new RegistryInventory(connection, cipher),
      migrations: once(() =>
        readMigrations(config.migrations.directory, { mayBeMissing: !config.migrations.explicit }),
      ),
      seeds: once(() => readSeeds(config.seeds.directory, { mayBeMissing: !config.seeds.explicit })),
      companions: once(() => hashCompanions([config.migrations.directory, config.seeds.directory])),
      builtTemplates: new BuiltTemplates(connection),
      refusedTemplates: new RefusedTemplates(connection),
      ready: new ReadyTenants(connection),
      close: async () => {
        await jobs.close()
        await connections.close()
        await admins.close()
        await connection.close()
      },
    }
  } catch (error) {
    await connection.close()
    throw error
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
