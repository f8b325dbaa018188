const token =
  /[\t\n\r ]*(?:([{}[\],:])|("(?:[^"\\\p{Cc}]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*")|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)/uy

/**
 * Line and column, from 1, of a JSON text's first error. V8 gives no position for most of them and quotes the text
 * around it instead, which may be a password.
 */
export function locateJsonError(text: string): { line: number; column: number } {
  let at = 0
  let next = read()

  function read(): string {
    token.lastIndex = at
    return token.exec(text)?.[0] ?? ''
  }
  function take(wanted?: string): boolean {
    const found = next.trim()
    const isValue = found !== '' && !/^[{}[\],:]$/.test(found)
    if (wanted === undefined ? !isValue : wanted === '"' ? !found.startsWith('"') : found !== wanted) return false
    at += next.length
    next = read()
    return true
  }
  function members(end: string, member: () => boolean): boolean {
    if (take(end)) return true
    do if (!member()) return false
    while (take(','))
    return take(end)
  }
  function value(): boolean {
    if (take('{')) return members('}', () => take('"') && take(':') && value())
    if (take('[')) return members(']', value)
    return take()
  }

  value()
  const before = text.slice(0, at + (/^[\t\n\r ]*/.exec(text.slice(at))?.[0].length ?? 0))
  return { line: before.split('\n').length, column: before.length - before.lastIndexOf('\n') }
}
