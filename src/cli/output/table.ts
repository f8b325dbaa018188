import type { Style } from './style.ts'

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
  align: { right?: readonly number[] } = {},
): Promise<string> {
  return await columns([head.map(title => style.dim(title)), ...rows], align)
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
    chars: { ...noBorders, middle: '  ' },
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
