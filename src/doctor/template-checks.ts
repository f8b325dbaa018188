import { lockId } from '../postgres/locks.ts'
import { removeOldTemplate, sortTemplates } from '../provisioning/old-templates.ts'
import type { ProvisioningParts } from '../provisioning/parts.ts'
import { templateLock } from '../provisioning/template.ts'
import { findTemplateRemains, removeTemplateRemains } from '../provisioning/template-remains.ts'
import type { Finding } from './finding.ts'
import { sizeOf } from './size.ts'
import type { ServerSnapshot } from './snapshot.ts'

/** What a run that was cut off has left of a template that it was building. */
export function checkTemplates(parts: ProvisioningParts, server: ServerSnapshot): Finding[] {
  const found = { databases: [...server.databases.values()], roles: [...server.roles.values()] }
  return findTemplateRemains(parts, server.server, found)
    .filter(({ name }) => !server.locks.has(lockId(server.address.database, templateLock(parts.registryId, name))))
    .map(remains => ({
      check: 'template',
      status: 'problem',
      server: server.server,
      message: `${[...remains.databases, ...remains.roles].map(name => `"${name}"`).join(', ')}: left of a template that was never finished`,
      fix: 'tenantctl repair',
      mend: () => removeTemplateRemains(parts, remains, {}),
    }))
}

/** Whole ones that no new tenant is copied from any more. */
export async function checkOldTemplates(parts: ProvisioningParts, server: ServerSnapshot): Promise<Finding[]> {
  const templates = await sortTemplates(parts, server.server, server.facts, server.databases.values())
  if (!templates) return []
  const { current, old } = templates
  return Promise.all(
    old.map(async ({ name, builtAt, reasons }) => {
      const facts = [await sizeOf(server, name), ...(builtAt ? [`built ${builtAt.replace(/\.\d+Z$/, 'Z')}`] : [])]
      const why = reasons.length > 0 ? `: ${reasons.join('; ')}` : ''
      const instead = current.map(each => `"${each}"`).join(' or ')
      return {
        check: 'template',
        status: 'warning' as const,
        server: server.server,
        message: `template "${name}" (${facts.join(', ')}) is old${why}. New tenants are copied from ${instead}`,
        fix: 'tenantctl doctor --fix',
        mend: () => removeOldTemplate(parts, server.server, { name, current }, {}),
      }
    }),
  )
}
