import type { Client } from '../postgres/connect.ts'

/** What pg keeps to itself: a message for each statement that the server has finished. */
interface Internals {
  connection: {
    on(event: 'commandComplete', listener: () => void): void
    off(event: 'commandComplete', listener: () => void): void
  }
}

interface PieceFailure {
  /** Of the statement that failed. */
  index: number
  /** The driver's, with its position counted from the beginning of that statement. */
  error: unknown
}

/**
 * Sends statements as one message, which spares a way to the server for each. Must be a transaction: of a message that
 * fails nothing may stay. Tells which of them failed.
 */
export async function sendTogether(client: Client, pieces: readonly string[]): Promise<PieceFailure | undefined> {
  const { connection } = client as unknown as Internals
  let finished = 0
  const count = () => {
    finished += 1
  }
  connection.on('commandComplete', count)
  try {
    await client.query(pieces.join(separator))
    return undefined
  } catch (error) {
    return locate(error, pieces, finished)
  } finally {
    connection.off('commandComplete', count)
  }
}

/** On a line of its own: a statement may end in a comment. */
const separator = '\n;\n'

/** A syntax error is found before the first statement is run, so that its position says more than the count. */
function locate(error: unknown, pieces: readonly string[], finished: number): PieceFailure {
  const position = Number((error as { position?: string }).position)
  if (!(position >= 1)) return { index: finished, error }
  let before = 0
  for (const [index, piece] of pieces.entries()) {
    // PostgreSQL counts characters, and JavaScript the halves of some.
    const length = Array.from(piece).length
    if (position <= before + length + separator.length) {
      const own = Math.min(Math.max(1, position - before), length)
      return { index, error: Object.assign(error as object, { position: String(own) }) }
    }
    before += length + separator.length
  }
  return { index: finished, error }
}

/** What decides how the server reads the rest of a message must have been sent, and obeyed, before it. */
export function canGoTogether(text: string): boolean {
  return !/standard_conforming_strings|backslash_quote|client_encoding|set\s+names/i.test(text)
}
