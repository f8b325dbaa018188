import type { CreateInput } from '../index.ts'
import type { Labels } from '../registry/tenant.ts'
import { CliError } from './errors.ts'

type Row = Pick<CreateInput, 'name' | 'slug' | 'database' | 'server' | 'labels'>

const plainColumns = ['name', 'slug', 'database', 'server'] as const

/**
 * Reads `create --file`: CSV with a header, or ndjson. Every bad row is reported by its line in one error, before
 * anything is made. Names themselves are the library's to judge; here only what a file can get wrong.
 */
export async function parseTenantRows(text: string, source: string): Promise<Row[]> {
  const content = text.replace(/^\uFEFF/, '')
  const problems: string[] = []
  const parsed = content.trimStart().startsWith('{')
    ? parseNdjson(content, problems)
    : await parseCsv(content, problems)

  const rows: Row[] = []
  const lineOfSlug = new Map<string, number>()
  for (const { line, value } of parsed) {
    const row = toRow(value, problem => problems.push(`line ${line}: ${problem}`))
    if (!row) continue
    const earlier = row.slug === undefined ? undefined : lineOfSlug.get(row.slug)
    if (earlier !== undefined) problems.push(`line ${line}: slug "${row.slug}" is on line ${earlier} too`)
    else if (row.slug !== undefined) lineOfSlug.set(row.slug, line)
    rows.push(row)
  }
  if (problems.length > 0) {
    throw new CliError('INPUT_INVALID', [`${source} cannot be used`, ...problems].join('\n'), {
      hint: 'nothing was made; CSV needs a header with name, and may have slug, database, server, label.<key>',
    })
  }
  if (rows.length === 0) throw new CliError('INPUT_INVALID', `${source} holds no tenants`)
  return rows
}

interface Numbered {
  line: number
  value: Record<string, unknown>
}

function parseNdjson(text: string, problems: string[]): Numbered[] {
  return text.split(/\r?\n/).flatMap((content, index) => {
    if (content.trim() === '') return []
    const line = index + 1
    try {
      const value: unknown = JSON.parse(content)
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
        return [{ line, value: value as Record<string, unknown> }]
      }
      problems.push(`line ${line}: expected an object`)
    } catch (error) {
      problems.push(`line ${line}: not JSON (${(error as Error).message})`)
    }
    return []
  })
}

async function parseCsv(text: string, problems: string[]): Promise<Numbered[]> {
  const { parse } = await import('csv-parse/sync')
  const records: string[][] = []
  const lines: number[] = []
  try {
    parse(text, {
      trim: true,
      relax_column_count: true,
      skip_empty_lines: true,
      on_record(record: string[], { lines: line }) {
        records.push(record)
        lines.push(line)
        return null
      },
    })
  } catch (error) {
    // Quotes that do not close: what follows cannot be told apart, so the first problem is the only one.
    problems.push((error as Error).message)
    return []
  }
  const header = records.shift() ?? []
  lines.shift()
  if (header.length > 0 && !header.includes('name')) problems.push('line 1: the header has no column "name"')
  for (const column of header) {
    if (!isColumn(column)) problems.push(`line 1: unknown column "${column}"`)
    else if (header.indexOf(column) !== header.lastIndexOf(column))
      problems.push(`line 1: column "${column}" is there twice`)
  }
  if (problems.length > 0) return []
  return records.flatMap((record, index) => {
    const line = lines[index] ?? 0
    if (record.length === header.length) return [{ line, value: fromColumns(header, record) }]
    problems.push(`line ${line}: ${record.length} values for ${header.length} columns`)
    return []
  })
}

function isColumn(name: string): boolean {
  return (plainColumns as readonly string[]).includes(name) || /^label\../.test(name)
}

/** An empty cell is a value that was not given. */
function fromColumns(header: string[], record: string[]): Record<string, unknown> {
  const value: Record<string, unknown> = {}
  const labels: Labels = {}
  for (const [index, column] of header.entries()) {
    const cell = record[index] ?? ''
    if (column.startsWith('label.')) {
      if (cell !== '') labels[column.slice('label.'.length)] = cell
    } else if (cell !== '' || column === 'name') value[column] = cell
  }
  return Object.keys(labels).length > 0 ? { ...value, labels } : value
}

function toRow(value: Record<string, unknown>, problem: (text: string) => void): Row | undefined {
  let valid = true
  const refuse = (text: string): void => {
    valid = false
    problem(text)
  }
  for (const key of Object.keys(value)) {
    if (key !== 'labels' && !(plainColumns as readonly string[]).includes(key)) refuse(`unknown key "${key}"`)
  }
  for (const key of plainColumns) {
    if (value[key] !== undefined && typeof value[key] !== 'string') refuse(`"${key}" must be text`)
  }
  if (value.name === undefined || (typeof value.name === 'string' && value.name.trim() === ''))
    refuse('name is missing')
  const { labels } = value
  if (labels !== undefined && !isLabels(labels)) refuse('"labels" must be an object of texts')
  return valid ? (value as unknown as Row) : undefined
}

function isLabels(value: unknown): value is Labels {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  return Object.values(value).every(label => typeof label === 'string')
}
