import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { type DumpDescription, descriptionFile, readDescription } from '../dumps/description.ts'
import { entriesToRestore, restoreDump } from '../dumps/dump.ts'
import { checksum, listDump, verifyDump } from '../dumps/dump-file.ts'
import { type ClientTools, toolsFor } from '../dumps/tools.ts'
import { isTenancyError, TenancyError } from '../errors.ts'
import { MigrationHistory } from '../migrations/history.ts'
import { versionOf } from '../migrations/version.ts'
import { withAdmin } from '../postgres/connect.ts'
import { holdsObjects } from '../postgres/contents.ts'
import { adminFacts } from '../postgres/server.ts'
import { historySchema, type RoleModel, rolesOf } from '../registry/roles.ts'
import { defaultServer } from '../registry/servers.ts'
import type { Labels, Tenant } from '../registry/tenant.ts'
import { endTenantSessions } from './access.ts'
import { insideAsTenant } from './as-tenant.ts'
import { describeTenant, type RunOptions } from './create.ts'
import { reach } from './lock.ts'
import { inTheWay, makeNew, recordFailure } from './make-new.ts'
import { runOperation } from './operation.ts'
import type { ProvisioningParts } from './parts.ts'
import { applySteps, type ProvisioningStep, type StepContext } from './step.ts'
import { activate, emptyTenantSteps } from './steps.ts'

/** A dump, and the tenant that it becomes. */
export interface RestoreInput {
  /** Path of a dump that `drop` with a backup, or `pg_dump --format=custom`, has made. */
  dump: string
  slug: string
  /** Default: what the description beside the dump says, else the slug. */
  name?: string | undefined
  /** Default: what the description says, else none. */
  labels?: Labels | undefined
  /** Default: `default`. */
  server?: string | undefined
  /** Name of the database and of the role. Default: by `naming` of the configuration. */
  database?: string | undefined
}

interface Dump {
  file: string
  tools: ClientTools
  /** Entries of the dump that are to be restored, as pg_restore lists them. */
  entries: string
  roles: RoleModel
  description: DumpDescription | undefined
}

/**
 * Makes a tenant of a dump: as `create` does, with what is in the dump in the place of migrations and seeds. The dump
 * is read to its end before anything is made, and it is restored wholly or not at all, with the tenant's own rights.
 * One that an earlier restore left half-made is finished. A tenant has the roles (`single`, `separate`) that its dump
 * was made with.
 */
export async function restoreTenant(
  parts: ProvisioningParts,
  input: RestoreInput,
  options: RunOptions,
): Promise<Tenant> {
  const dump = await readDump(parts, input, options)
  const { tenant: known } = dump.description ?? {}
  const config = { ...parts.config, roles: dump.roles }
  const wanted = await describeTenant(
    { ...parts, config },
    { ...input, name: input.name ?? known?.name ?? input.slug, labels: input.labels ?? known?.labels },
  )
  const { slug } = wanted
  const steps = [...emptyTenantSteps, restoreStep(dump), activate]
  const parameters = { dump: dump.file }
  const next = `\`tenantctl restore ${dump.file} --as ${slug}\` goes on from there, \`tenantctl drop ${slug}\` removes what there is`
  const work = async (context: StepContext) => {
    await applySteps(steps, context)
    return context.tenant
  }
  let tenant = await parts.registry.find(slug)
  if (!tenant) {
    try {
      return await makeNew(parts, 'restore', wanted, { ...options, parameters, steps, next }, work)
    } catch (error) {
      tenant = await inTheWay(parts, wanted, error)
    }
  }
  const found = tenant
  await refuseUnlessRestoring(parts, found)
  let made = found
  await runOperation(parts, 'restore', found, { ...options, parameters }, async context => {
    made = await work(context)
  }).catch(async error => {
    throw await recordFailure(parts, found, error, next)
  })
  return made
}

/**
 * All of it in one transaction, on the tenant's login, which nobody else knows yet: whatever is in the database after
 * a crash is all that was in the dump.
 */
function restoreStep({ file, entries, tools }: Dump): ProvisioningStep {
  return {
    name: 'restore',
    isDone: async () => false,
    async apply(context) {
      const { parts, tenant, signal } = context
      const schema = historySchema(tenant)
      const { owner } = rolesOf(tenant)
      // Nobody but us knows its password: whoever is in is a pg_restore that has outlived its tenantctl.
      await endTenantSessions(context)
      const done = await insideAsTenant(context, client => holdsObjects(client, [schema]))
      if (!done) {
        const address = parts.servers.tenant(tenant, await parts.registry.credentials(tenant, 'migrator'))
        await withTemporaryFile(entries, list => restoreDump(tools, address, { file, list, role: owner, signal }))
      }
      const history = await insideAsTenant(context, client => new MigrationHistory(client, schema).read())
      await parts.registry.setSchemaVersion(tenant.id, versionOf(history.map(each => each.name)), undefined)
    },
    undo: async () => undefined,
  }
}

/** Everything that can be wrong with a dump or with what reads it, before a tenant is begun. */
async function readDump(parts: ProvisioningParts, input: RestoreInput, options: RunOptions): Promise<Dump> {
  const { signal } = options
  const file = resolve(input.dump)
  const facts = await stat(file).catch(cause => {
    throw new TenancyError('INPUT_INVALID', `cannot read ${file}`, { cause })
  })
  const description = await readDescription(file)
  const server = input.server ?? defaultServer
  const { address, doing } = reach(parts, { server })
  const { version } = await withAdmin(address, { signal, doing }, adminFacts)
  const { tools, listing } = await readable(await toolsFor(version, parts.config.tools), file, signal)
  if (description && facts.isFile() && description.sha256 !== (await checksum(file))) {
    throw new TenancyError('INPUT_INVALID', `${file} is not the file that was backed up: its checksum is another`, {
      hint: `${descriptionFile(file)} tells which one it was made for`,
    })
  }
  const separate = historySchema({ roles: 'separate' })
  const roles = listing.some(line => line.includes(` SCHEMA - ${separate} `)) ? 'separate' : 'single'
  const entries = entriesToRestore(listing, roles === 'separate' ? [separate] : [])
  return { file, tools, entries, roles, description }
}

/** The oldest program that can read the dump: it may have been written by a newer one than the server needs. */
async function readable(
  candidates: readonly ClientTools[],
  file: string,
  signal: AbortSignal | undefined,
): Promise<{ tools: ClientTools; listing: string[] }> {
  let failure: unknown
  for (const tools of candidates) {
    try {
      const listing = await listDump(tools, file, signal)
      await verifyDump(tools, file, signal)
      return { tools, listing }
    } catch (error) {
      if (!isTenancyError(error) || error.code !== 'BACKUP_FAILED') throw error
      failure = error
    }
  }
  const { message } = failure as TenancyError
  if (/unsupported version/.test(message)) {
    throw new TenancyError('TOOL_MISSING', `${file} was written by a newer pg_dump: ${message}`, {
      hint: "install PostgreSQL's newest client programs (postgresql-client), or name their folder in tools.directory",
    })
  }
  throw new TenancyError('INPUT_INVALID', `${file}: ${message}`, {
    hint: /text format|valid archive/.test(message)
      ? 'expected a dump in the custom format: pg_dump --format=custom'
      : undefined,
    cause: failure,
  })
}

/** A half-made tenant of another origin must not be taken for what a dump holds. */
async function refuseUnlessRestoring(parts: ProvisioningParts, { id, slug, name, status }: Tenant): Promise<void> {
  const halfMade = status === 'provisioning' || status === 'failed'
  const maker = halfMade ? await parts.unfinished.newest(id, ['create', 'restore']) : undefined
  if (halfMade && maker?.kind !== 'create') return
  throw new TenancyError('TENANT_EXISTS', `there is a tenant "${slug}" already (${name}, ${status})`, {
    tenant: slug,
    hint: halfMade ? `a create left it half-made; remove it first: tenantctl drop ${slug}` : 'choose another --as',
  })
}

async function withTemporaryFile(content: string, work: (file: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'tenantctl-'))
  try {
    const file = join(directory, 'list')
    await writeFile(file, content, { mode: 0o600 })
    await work(file)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
