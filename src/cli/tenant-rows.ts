import type { CreateInput, InputProblem } from '../index.ts'
import type { Labels } from '../registry/tenant.ts'
import { CliError } from './errors.ts'
import { plural } from './output/format.ts'

type Row = Pick<CreateInput, 'name' | 'slug' | 'database' | 'server' | 'labels'>

interface Problem {
  line: number
  text: string
}

/** What a file holds: rows that can be read, each with its line, and why the others cannot. */
interface TenantRows {
  source: string
  rows: { line: number; row: Row }[]
  problems: Problem[]
  ndjson: boolean
}

const plainColumns = ['name', 'slug', 'database', 'server'] as const

/** Reads `create --file`: CSV with a header, or ndjson. Names are the library's to judge; see `refuseBadRows`. */
export async function parseTenantRows(text: string, source: string): Promise<TenantRows> {
  const content = text.replace(/^\uFEFF/, '')
  const problems: Problem[] = []
  const ndjson = content.trimStart().startsWith('{')
  const parsed = ndjson ? parseNdjson(content, problems) : await parseCsv(content, problems)
  const rows = parsed.flatMap(({ line, value }) => {
    const row = toRow(value, problem => problems.push({ line, text: problem }))
    return row ? [{ line, row }] : []
  })
  if (problems.length + rows.length === 0) throw new CliError('INPUT_INVALID', `${source} holds no tenants`)
  return { source, rows, problems, ndjson }
}

/** Every bad row by its line in one error, before anything is made; `refused` is what the library found in the rows. */
export function refuseBadRows({ source, rows, problems, ndjson }: TenantRows, refused: readonly InputProblem[]): void {
  const lineOf = (index: number): number => rows[index]?.line ?? 0
  const judged = refused.map(({ index, message, duplicateOf }) => ({
    line: lineOf(index),
    text: duplicateOf === undefined ? message : `${message} (line ${lineOf(duplicateOf)})`,
  }))
  const all = [...problems, ...judged].sort((a, b) => a.line - b.line)
  if (all.length === 0) return
  const lines = all.map(({ line, text }) => (line === 0 ? text : `line ${line}: ${text}`))
  const expected = ndjson
    ? 'a row is an object with name, and may have slug, database, server, labels'
    : 'CSV needs a header with name, and may have slug, database, server, label.<key>'
  throw new CliError('INPUT_INVALID', [`${source} cannot be used`, ...lines].join('\n'), {
    hint: `nothing was made; ${expected}`,
  })
}

interface Numbered {
  line: number
  value: Record<string, unknown>
}

function parseNdjson(text: string, problems: Problem[]): Numbered[] {
  return text.split(/\r?\n/).flatMap((content, index) => {
    if (content.trim() === '') return []
    const line = index + 1
    try {
      const value: unknown = JSON.parse(content)
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
        return [{ line, value: value as Record<string, unknown> }]
      }
      problems.push({ line, text: 'expected an object' })
    } catch (error) {
      problems.push({ line, text: `not JSON (${(error as Error).message})` })
    }
    return []
  })
}

async function parseCsv(text: string, problems: Problem[]): Promise<Numbered[]> {
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
    problems.push({ line: 0, text: (error as Error).message })
    return []
  }
  const header = records.shift() ?? []
  lines.shift()
  if (header.length > 0 && !header.includes('name')) problems.push({ line: 1, text: 'the header has no column "name"' })
  for (const column of header) {
    if (!isColumn(column)) problems.push({ line: 1, text: `unknown column "${column}"` })
    else if (header.indexOf(column) !== header.lastIndexOf(column))
      problems.push({ line: 1, text: `column "${column}" is there twice` })
  }
  if (problems.length > 0) return []
  return records.flatMap((record, index) => {
    const line = lines[index] ?? 0
    if (record.length === header.length) return [{ line, value: fromColumns(header, record) }]
    problems.push({ line, text: `${plural(record.length, 'value')} for ${plural(header.length, 'column')}` })
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
