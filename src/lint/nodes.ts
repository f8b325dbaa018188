/** A statement as libpg-query parses it: `{ AlterTableStmt: { … } }`, with the names of PostgreSQL's own parse nodes. */
export type Node = Record<string, unknown>

/** Functions whose value differs per row: as a default they make PostgreSQL rewrite the table (manual, ALTER TABLE, Notes). */
const volatileFunctions = [
  'random',
  'gen_random_uuid',
  'uuid_generate_v4',
  'uuidv4',
  'uuidv7',
  'clock_timestamp',
  'timeofday',
  'nextval',
]

/** Whether an expression has another value for each row. */
export function isVolatile(expression: unknown): boolean {
  if (typeof expression !== 'object' || expression === null) return false
  const call = (expression as Node).FuncCall as Node | undefined
  if (call && volatileFunctions.includes(lastName({ List: { items: call.funcname as Node[] } }))) return true
  return Object.values(expression).some(isVolatile)
}

export function constantOf(node: Node | undefined): string {
  const constant = node?.A_Const as { ival?: { ival?: number }; sval?: { sval?: string } } | undefined
  return constant?.sval ? String(constant.sval.sval) : String(constant?.ival?.ival ?? 0)
}

/** `schema.table`, or `table` where the file names no schema. */
export function nameOf(relation: Node | undefined): string {
  return [relation?.schemaname, relation?.relname].filter(Boolean).join('.')
}

export function lastName(node: Node): string {
  const { items = [] } = (node.List ?? {}) as { items?: Node[] }
  return items.map(each => String((each.String as Node | undefined)?.sval ?? '')).at(-1) ?? ''
}
