import { TenancyError } from '../errors.ts'

export interface Statement {
  /** Without the semicolon, and without what stands before its first word. */
  text: string
  /** Line of its first word, counted from 1. */
  line: number
  /** First words in lower case, as many as make a statement's kind known. */
  words: string[]
}

const identifierStart = /[A-Za-z_\u0080-\uffff]/
const identifierRest = /[A-Za-z0-9_$\u0080-\uffff]*/y
const dollarTag = /\$(?:[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?\$/y

/**
 * Splits SQL into statements as psql does (its psqlscan.l): strings, quoted identifiers, dollar quotes, nested
 * comments, parentheses, and the bodies of `BEGIN ATOMIC … END`. Throws `MIGRATIONS_INVALID` for what is not closed.
 */
export function splitStatements(sql: string, firstLine = 1): Statement[] {
  const statements: Statement[] = []
  let start = -1
  let words: string[] = []
  let parentheses = 0
  let bodies = 0

  const lineAt = lineCounter(sql, firstLine)
  const unclosed = (what: string, offset: number): never => {
    throw new TenancyError('MIGRATIONS_INVALID', `line ${lineAt(offset)}: ${what} is not closed`, {
      line: lineAt(offset),
    })
  }
  const finish = (end: number) => {
    if (start >= 0) statements.push({ text: sql.slice(start, end).trimEnd(), line: lineAt(start), words })
    start = -1
    words = []
    parentheses = 0
    bodies = 0
  }

  for (let at = 0; at < sql.length; ) {
    const char = sql[at] as string
    const next = sql[at + 1]
    if (/\s/.test(char)) {
      at += 1
    } else if (char === '-' && next === '-') {
      at = endOr(sql.indexOf('\n', at), sql.length)
    } else if (char === '/' && next === '*') {
      at = endOfComment(sql, at) ?? unclosed('a comment', at)
    } else if (char === ';' && parentheses === 0 && bodies === 0) {
      finish(at)
      at += 1
    } else {
      if (start < 0) start = at
      if (char === "'") {
        at = endOfQuoted(sql, at, "'", false) ?? unclosed('a string', at)
      } else if (char === '"') {
        at = endOfQuoted(sql, at, '"', false) ?? unclosed('a quoted identifier', at)
      } else if ((char === 'e' || char === 'E') && next === "'") {
        at = endOfQuoted(sql, at + 1, "'", true) ?? unclosed('a string', at)
      } else if (char === '$' && matchAt(dollarTag, sql, at)) {
        const tag = matchAt(dollarTag, sql, at) as string
        const end = sql.indexOf(tag, at + tag.length)
        at = end < 0 ? unclosed(`a dollar-quoted string (${tag})`, at) : end + tag.length
      } else if (identifierStart.test(char)) {
        const word = (matchAt(identifierRest, sql, at) as string).toLowerCase()
        if (words.length < 8) words.push(word)
        // Inside parentheses these words are names of parameters, or a CASE that is closed there as well.
        if (parentheses === 0) bodies = Math.max(0, bodies + bodyChange(word, words, bodies))
        at += word.length
      } else {
        if (char === '(') parentheses += 1
        if (char === ')') parentheses = Math.max(0, parentheses - 1)
        // A parameter ($1) or a number with letters in it must not be taken for a dollar quote or a word.
        at += /[0-9]/.test(char) || (char === '$' && /[0-9]/.test(next ?? '')) ? skipNumber(sql, at) : 1
      }
    }
  }
  finish(sql.length)
  return statements
}

/** Only CREATE FUNCTION and CREATE PROCEDURE have bodies whose semicolons do not end the statement. */
function bodyChange(word: string, words: string[], bodies: number): number {
  const routine = words.slice(0, 4).join(' ')
  if (!/^create (or replace )?(function|procedure)/.test(routine)) return 0
  if (word === 'begin') return 1
  if (word === 'case' && bodies > 0) return 1
  return word === 'end' ? -1 : 0
}

function endOfQuoted(sql: string, open: number, quote: string, backslashes: boolean): number | undefined {
  for (let at = open + 1; at < sql.length; at += 1) {
    if (backslashes && sql[at] === '\\') at += 1
    else if (sql[at] === quote) {
      if (sql[at + 1] !== quote) return at + 1
      at += 1
    }
  }
  return undefined
}

function endOfComment(sql: string, open: number): number | undefined {
  let depth = 0
  for (let at = open; at < sql.length; at += 1) {
    const pair = sql.slice(at, at + 2)
    if (pair === '/*') depth += 1
    else if (pair === '*/') depth -= 1
    else continue
    at += 1
    if (depth === 0) return at + 1
  }
  return undefined
}

function skipNumber(sql: string, at: number): number {
  return (matchAt(/\$?[0-9][A-Za-z0-9_.]*/y, sql, at) as string).length
}

function matchAt(pattern: RegExp, sql: string, at: number): string | undefined {
  pattern.lastIndex = at
  return pattern.exec(sql)?.[0]
}

function endOr(found: number, otherwise: number): number {
  return found < 0 ? otherwise : found
}

/** Lines of offsets that are asked for in rising order: a dump of many statements is read through once. */
function lineCounter(sql: string, firstLine: number): (offset: number) => number {
  let line = firstLine
  let next = sql.indexOf('\n')
  return offset => {
    for (; next >= 0 && next < offset; next = sql.indexOf('\n', next + 1)) line += 1
    return line
  }
}
