import { stripVTControlCharacters } from 'node:util'
import type { Style } from './style.ts'

const gap = '  '

const noBorders = Object.fromEntries(
  [
    ...['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right'],
    ...['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid'],
  ].map(name => [name, '']),
)

/** Columns without borders. Cells must be clean already; they may carry colour. */
export async function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  style: Style,
  { free, ...align }: { right?: readonly number[]; free?: number } = {},
): Promise<string> {
  const fitting = free === undefined ? rows : cutToFit(head, rows, free, style.width)
  return await columns([head.map(title => style.dim(title)), ...fitting], align)
}

/** Less than this of a text says nothing. */
const shortest = 12

/** Cuts the column of free text, whose cells carry no colour, to what a terminal has left beside the others. */
function cutToFit(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  free: number,
  width: number | undefined,
): readonly (readonly string[])[] {
  if (width === undefined) return rows
  const cells = (column: number) =>
    [head, ...rows].map(row => Array.from(stripVTControlCharacters(row[column] ?? '')).length)
  const others = head.reduce(
    (sum, _, column) => sum + (column === free ? 0 : Math.max(...cells(column)) + gap.length),
    0,
  )
  const room = Math.max(shortest, width - others)
  const cut = (text: string): string => {
    const characters = Array.from(text)
    return characters.length <= room ? text : `${characters.slice(0, room - 1).join('')}…`
  }
  return rows.map(row => row.map((cell, column) => (column === free ? cut(cell) : cell)))
}

/** Rows of columns without a head. */
export async function columns(
  rows: readonly (readonly string[])[],
  align: { right?: readonly number[]; indent?: string } = {},
): Promise<string> {
  const { default: Table } = await import('cli-table3')
  const width = rows[0]?.length ?? 0
  // A column without any content would only leave a gap.
  const used = Array.from({ length: width }, (_, index) => index).filter(index => rows.some(row => row[index] !== ''))
  const out = new Table({
    chars: { ...noBorders, middle: gap },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: used.map(index => (align.right?.includes(index) ? 'right' : 'left')),
  })
  for (const row of rows) out.push(used.map(index => row[index] ?? ''))
  return out
    .toString()
    .split('\n')
    .map(line => `${align.indent ?? ''}${line}`.trimEnd())
    .join('\n')
}
