import type { SchemaObject } from './catalog.ts'

/** How a schema differs from another, by objects such as `column public.users.email`. */
export interface SchemaDifference {
  missing: string[]
  extra: string[]
  changed: { object: string; expected: string; found: string }[]
}

export function compareSchemas(expected: readonly SchemaObject[], found: readonly SchemaObject[]): SchemaDifference {
  const expectedByName = byName(expected)
  const foundByName = byName(found)
  return {
    missing: [...expectedByName.keys()].filter(name => !foundByName.has(name)),
    extra: [...foundByName.keys()].filter(name => !expectedByName.has(name)),
    changed: [...expectedByName].flatMap(([object, definition]) => {
      const other = foundByName.get(object)
      return other === undefined || other === definition ? [] : [{ object, expected: definition, found: other }]
    }),
  }
}

function byName(objects: readonly SchemaObject[]): Map<string, string> {
  return new Map(objects.map(({ kind, name, definition }) => [`${kind} ${name}`, definition]))
}
