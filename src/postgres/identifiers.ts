import { TenancyError } from '../errors.ts'

/** PostgreSQL cuts longer names with a mere NOTICE, and two tenants then share one (manual, 4.1.1). */
export const maxIdentifierBytes = 63

/** The one place where an identifier enters SQL text. */
export function quoteIdentifier(name: string): string {
  if (name === '' || name.includes('\0') || Buffer.byteLength(name) > maxIdentifierBytes) {
    throw new TenancyError('NAME_INVALID', `not an identifier PostgreSQL can keep whole: ${JSON.stringify(name)}`)
  }
  return `"${name.replaceAll('"', '""')}"`
}

/** For statements that take no parameters (DDL). Holds whatever standard_conforming_strings is. */
export function quoteLiteral(value: string): string {
  if (value.includes('\0')) throw new TenancyError('NAME_INVALID', 'a NUL character cannot be sent to PostgreSQL')
  const quoted = `'${value.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`
  return value.includes('\\') ? ` E${quoted}` : quoted
}

/** For an array of them. */
export function quoteArray(values: readonly string[]): string {
  return `ARRAY[${values.map(quoteLiteral).join(', ')}]`
}
