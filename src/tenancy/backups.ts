import { prepareDirectory } from '../dumps/dump-file.ts'
import { toolsFor } from '../dumps/tools.ts'
import { TenancyError } from '../errors.ts'
import type { Selection } from '../fleet/selection.ts'
import { withAdmin } from '../postgres/connect.ts'
import { adminFacts } from '../postgres/server.ts'
import type { BackupTarget } from '../provisioning/backup.ts'
import { reach } from '../provisioning/lock.ts'
import type { Tenant } from '../registry/tenant.ts'
import { Turns } from '../turns.ts'
import type { Parts } from './parts.ts'

/** A dump reads all of a database and a drop makes a checkpoint: more would be felt by the other tenants. */
const dumpsPerServer = 2

export interface BackupOptions {
  /**
   * Folder to write a verified dump of each tenant into before it is dropped; `false`: none, against what
   * `drop.backup` says. Default: `drop.backup.directory`.
   */
  backup?: string | false | undefined
}

/**
 * How the tenants of a drop are backed up, by server; none when no backup is wanted. All that could be missing is
 * looked for here, before the first tenant is touched. Throws `USAGE`, `TOOL_MISSING`.
 */
export async function planBackups(
  parts: Parts,
  tenants: readonly Tenant[],
  selection: Selection,
  options: BackupOptions & { signal?: AbortSignal | undefined },
): Promise<Map<string, BackupTarget>> {
  const { backupDirectory, requireBackup } = parts.config.drop
  const wanted = options.backup === false ? null : (options.backup ?? backupDirectory)
  const namesOne = 'tenants' in selection && selection.tenants.length === 1
  if (wanted === null) {
    if (requireBackup === true || (requireBackup === 'fleet' && !namesOne)) throw backupRequired(requireBackup)
    return new Map()
  }
  const servers = [...new Set(tenants.map(tenant => tenant.server))]
  if (servers.length === 0) return new Map()
  const directory = await prepareDirectory(wanted)
  const targets = servers.map(async (server): Promise<[string, BackupTarget]> => {
    const { address, doing } = reach(parts, { server })
    const { version } = await withAdmin(address, { signal: options.signal, doing }, adminFacts)
    const [tools] = await toolsFor(version, parts.config.tools)
    const turns = new Turns(() => dumpsPerServer)
    return [server, { directory, tools: tools as NonNullable<typeof tools>, inTurn: work => turns.run(work) }]
  })
  return new Map(await Promise.all(targets))
}

function backupRequired(requireBackup: true | 'fleet'): TenancyError {
  const which = requireBackup === true ? 'every drop' : 'the drop of more than one named tenant'
  return new TenancyError('USAGE', `${which} needs a backup (drop.requireBackup)`, {
    hint: 'nothing was dropped; say where to write it: --backup <dir>, or drop.backup.directory in the configuration',
  })
}
