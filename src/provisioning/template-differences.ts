import type { TemplateContents } from '../registry/built-templates.ts'

/** Why a template that was made of the one is not what the other would make, in words, the files first. */
export function templateDifferences(before: TemplateContents, now: TemplateContents): string[] {
  const differs = (key: keyof TemplateContents) => JSON.stringify(before[key]) !== JSON.stringify(now[key])
  const files = [
    ...fileDifferences('migration', before.migrations, now.migrations),
    ...fileDifferences('seed', before.seeds, now.seeds),
  ]
  return [
    ...files,
    ...(differs('companions') && files.length === 0 ? ['a file that migrations or seeds may import has changed'] : []),
    ...(differs('extensions') ? [`the extensions were ${before.extensions.join(', ') || 'none'}`] : []),
    ...(differs('roles') ? [`roles were "${before.roles}"`] : []),
    ...(differs('admin') ? [`the admin was "${before.admin[0]}"${before.admin[1] ? ', a superuser' : ''}`] : []),
    ...(differs('major') ? [`PostgreSQL was ${before.major}`] : []),
    ...(differs('layout') ? ['another version of tenantctl built it'] : []),
  ]
}

function fileDifferences(
  kind: string,
  before: readonly [string, string][],
  now: readonly [string, string][],
): string[] {
  const then = new Map(before)
  const today = new Map(now)
  const added = now.filter(([file]) => !then.has(file)).map(([file]) => file)
  const removed = before.filter(([file]) => !today.has(file)).map(([file]) => file)
  const changed = now.filter(([file, checksum]) => then.has(file) && then.get(file) !== checksum).map(([file]) => file)
  return [
    ...(added.length > 0 ? [`it lacks ${few(kind, added)}`] : []),
    ...(removed.length > 0 ? [`it has ${few(kind, removed)}`] : []),
    ...(changed.length > 0 ? [`since then ${few(kind, changed)} changed`] : []),
  ]
}

function few(kind: string, files: readonly string[]): string {
  const more = files.length > 3 ? ` and ${files.length - 3} more` : ''
  return `${kind}${files.length > 1 ? 's' : ''} ${files.slice(0, 3).join(', ')}${more}`
}
