import type { parseSync } from 'libpg-query'
import type { Migration } from '../migrations/source.ts'
import type { SqlScript } from '../migrations/sql-file.ts'
import type { Statement } from '../migrations/sql-lexer.ts'
import type { Node } from './nodes.ts'
import { type Problem, problemsOf, type RuleName, tablesMade } from './rules.ts'

/** A statement that is dangerous on a table in use, and the safer way. */
export interface LintFinding {
  /** File name. */
  migration: string
  line: number
  rule: RuleName
  message: string
  safer: string
}

const allowed = /^[ \t]*--[ \t]*migrate:allow[ \t]+([a-z, -]+?)[ \t]*\r?$/gm

/**
 * Looks through SQL migrations with PostgreSQL's own parser for what is dangerous on live tables. What a comment
 * `-- migrate:allow <rule>[, <rule>]` above a statement names is meant so. JS and TS files cannot be looked into.
 */
export async function lintMigrations(migrations: readonly Migration[]): Promise<LintFinding[]> {
  const files = migrations.filter(migration => migration.sql)
  if (files.length === 0) return []
  const parser = await import('libpg-query')
  await parser.loadModule()
  return files.flatMap(({ file, sql }) => {
    if (!sql) return []
    return lintScript(sql.up, sql.transactional, parser.parseSync).map(({ statement, ...problem }) => ({
      migration: file,
      line: statement.line,
      ...problem,
    }))
  })
}

type Parse = typeof parseSync

function lintScript(script: SqlScript, transactional: boolean, parse: Parse): (Problem & { statement: Statement })[] {
  const exceptions = exceptionsOf(script)
  const created = new Set<string>()
  return script.statements.flatMap(statement => {
    const nodes = parseStatement(statement, parse)
    if ('message' in nodes) {
      const problem: Problem = { rule: 'syntax-error', message: nodes.message, safer: 'correct the statement' }
      return [{ statement, ...problem }]
    }
    const problems = nodes.flatMap(node => {
      for (const table of tablesMade(node)) created.add(table)
      return problemsOf(node, { created, transactional })
    })
    const meant = exceptions.get(statement)
    return problems.filter(({ rule }) => !meant?.has(rule)).map(problem => ({ statement, ...problem }))
  })
}

function parseStatement(statement: Statement, parse: Parse): Node[] | { message: string } {
  try {
    return (parse(statement.text).stmts ?? []).map(each => each.stmt as Node)
  } catch (error) {
    return { message: (error as Error).message }
  }
}

/** The rules that a comment above a statement, or above the one before it on the same line, sets aside for it. */
function exceptionsOf(script: SqlScript): Map<Statement, Set<string>> {
  const exceptions = new Map<Statement, Set<string>>()
  for (const match of script.text.matchAll(allowed)) {
    const line = script.firstLine + script.text.slice(0, match.index).split('\n').length - 1
    const statement = script.statements.find(each => each.line >= line)
    if (!statement) continue
    const rules = exceptions.get(statement) ?? new Set()
    for (const rule of (match[1] as string).split(',')) rules.add(rule.trim())
    exceptions.set(statement, rules)
  }
  return exceptions
}
