import { constantOf, isVolatile, lastName, type Node, nameOf } from './nodes.ts'

export interface Problem {
  rule: RuleName
  /** What it does to a table that is in use. */
  message: string
  /** The way that does not. */
  safer: string
}

interface RuleContext {
  /** Tables that the same file has made: nobody uses them yet. */
  created: ReadonlySet<string>
  /** Whether the file runs in a transaction. */
  transactional: boolean
}

const ruleNames = [
  'syntax-error',
  'index-not-concurrent',
  'concurrently-in-transaction',
  'column-type-change',
  'set-not-null',
  'add-column-not-null',
  'add-column-rewrite',
  'drop-column',
  'drop-table',
  'rename',
  'constraint-not-valid',
  'constraint-index',
  'table-rewrite',
  'lock-table',
  'lock-timeout-disabled',
  'truncate',
  'update-all-rows',
] as const

export type RuleName = (typeof ruleNames)[number]

const serialTypes = ['serial', 'bigserial', 'smallserial', 'serial4', 'serial8', 'serial2']

/** What is dangerous about one statement on a live table. */
export function problemsOf(statement: Node, context: RuleContext): Problem[] {
  const [kind = '', node] = Object.entries(statement)[0] ?? []
  const check = checks[kind]
  return check ? check(node as Node, context) : []
}

/** Names of the tables that a statement makes. */
export function tablesMade(statement: Node): string[] {
  const create = (statement.CreateStmt ?? (statement.CreateTableAsStmt as Node | undefined)?.into) as Node | undefined
  const relation = (create?.relation ?? create?.rel) as Node | undefined
  return relation ? [nameOf(relation)] : []
}

type Check = (node: Node, context: RuleContext) => Problem[]

const checks: Record<string, Check> = {
  IndexStmt(node, context) {
    if (node.concurrent) {
      return context.transactional
        ? [
            {
              rule: 'concurrently-in-transaction',
              message: 'CREATE INDEX CONCURRENTLY cannot run in a transaction and will fail',
              safer: 'put "-- migrate:no-transaction" on the first line of the file',
            },
          ]
        : []
    }
    const table = nameOf(node.relation as Node)
    if (context.created.has(table)) return []
    return [
      {
        rule: 'index-not-concurrent',
        message: `CREATE INDEX blocks every write to ${table} until it is built`,
        safer: 'CREATE INDEX CONCURRENTLY, in a file of its own with "-- migrate:no-transaction" on its first line',
      },
    ]
  },
  AlterTableStmt(node, context) {
    const table = nameOf(node.relation as Node)
    if (context.created.has(table)) return []
    return ((node.cmds ?? []) as Node[]).flatMap(each => alterTable(each.AlterTableCmd as Node, table))
  },
  DropStmt(node, context) {
    if (node.removeType === 'OBJECT_INDEX' && !node.concurrent) {
      return [
        {
          rule: 'index-not-concurrent',
          message: 'DROP INDEX blocks every use of the table while it waits for a lock',
          safer: 'DROP INDEX CONCURRENTLY, in a file with "-- migrate:no-transaction"',
        },
      ]
    }
    if (node.removeType !== 'OBJECT_TABLE') return []
    const names = ((node.objects ?? []) as Node[]).map(lastName).filter(name => !context.created.has(name))
    if (names.length === 0) return []
    return [
      {
        rule: 'drop-table',
        message: `DROP TABLE ${names.join(', ')} loses its rows, and code that is still running breaks`,
        safer: 'deploy code that no longer uses it first; rename it, and drop it in a later release',
      },
    ]
  },
  RenameStmt(node, context) {
    const table = node.relation ? nameOf(node.relation as Node) : ''
    if (context.created.has(table) || !['OBJECT_TABLE', 'OBJECT_COLUMN'].includes(String(node.renameType))) return []
    return [
      {
        rule: 'rename',
        message: `renaming ${node.renameType === 'OBJECT_COLUMN' ? `a column of ${table}` : table} breaks code that is still running`,
        safer: 'add the new name, write both, move the readers, then drop the old one; or leave a view behind',
      },
    ]
  },
  TruncateStmt: () => [
    { rule: 'truncate', message: 'TRUNCATE loses all rows and locks out every reader', safer: 'DELETE in batches' },
  ],
  LockStmt: () => [
    {
      rule: 'lock-table',
      message: 'LOCK TABLE holds its lock until the migration has ended',
      safer: 'lock rows, or nothing',
    },
  ],
  ClusterStmt: () => [rewrite('CLUSTER')],
  VacuumStmt: node =>
    ((node.options ?? []) as Node[]).some(each => (each.DefElem as Node)?.defname === 'full')
      ? [rewrite('VACUUM FULL')]
      : [],
  ReindexStmt: node =>
    ((node.params ?? []) as Node[]).some(each => (each.DefElem as Node)?.defname === 'concurrently')
      ? []
      : [
          {
            rule: 'index-not-concurrent',
            message: 'REINDEX blocks every write until it is done',
            safer: 'REINDEX … CONCURRENTLY, in a file with "-- migrate:no-transaction"',
          },
        ],
  RefreshMatViewStmt: node =>
    node.concurrent
      ? []
      : [
          {
            rule: 'table-rewrite',
            message: 'REFRESH MATERIALIZED VIEW locks out its readers',
            safer: 'REFRESH … CONCURRENTLY',
          },
        ],
  UpdateStmt: (node, context) => allRows('UPDATE', node, context),
  DeleteStmt: (node, context) => allRows('DELETE', node, context),
  VariableSetStmt(node) {
    if (
      node.name !== 'lock_timeout' ||
      node.kind !== 'VAR_SET_VALUE' ||
      !/^0(ms|s|min)?$/.test(constantOf(((node.args ?? []) as Node[])[0]))
    )
      return []
    return [
      {
        rule: 'lock-timeout-disabled',
        message: 'without a lock_timeout a waiting statement makes all later ones wait behind it',
        safer: 'leave the timeout as tenantctl sets it: what does not get its lock is tried again',
      },
    ]
  },
}

function alterTable(command: Node, table: string): Problem[] {
  const column = String(command.name ?? '')
  switch (command.subtype) {
    case 'AT_AlterColumnType':
      return [
        {
          rule: 'column-type-change',
          message: `changing the type of ${table}.${column} may rewrite the table while nobody can read it`,
          safer: 'add a column of the new type, fill it in batches, switch the code, drop the old column',
        },
      ]
    case 'AT_SetNotNull':
      return [
        {
          rule: 'set-not-null',
          message: `SET NOT NULL reads all of ${table} while nobody can use it`,
          safer: `ADD CONSTRAINT … CHECK (${column} IS NOT NULL) NOT VALID; then, in another file, VALIDATE it, SET NOT NULL and drop it`,
        },
      ]
    case 'AT_DropColumn':
      return [
        {
          rule: 'drop-column',
          message: `DROP COLUMN ${table}.${column} loses its values, and code that is still running breaks`,
          safer: 'deploy code that no longer uses it first, drop it in a later release',
        },
      ]
    case 'AT_AddColumn':
      return addColumn((command.def as Node).ColumnDef as Node, table)
    case 'AT_AddConstraint':
      return addConstraint((command.def as Node).Constraint as Node, table)
    case 'AT_SetLogged':
    case 'AT_SetUnLogged':
    case 'AT_SetTableSpace':
    case 'AT_SetAccessMethod':
      return [rewrite(`ALTER TABLE ${table}`)]
    default:
      return []
  }
}

function addColumn(definition: Node, table: string): Problem[] {
  const column = `${table}.${definition.colname}`
  const constraints = ((definition.constraints ?? []) as Node[]).map(each => each.Constraint as Node)
  const has = (type: string) => constraints.find(each => each.contype === type)
  const value = has('CONSTR_DEFAULT')?.raw_expr as Node | undefined
  const type = lastName({ List: { items: ((definition.typeName as Node | undefined)?.names ?? []) as Node[] } })
  const generated = has('CONSTR_GENERATED') && (has('CONSTR_GENERATED') as Node).generated_kind !== 'v'
  const problems: Problem[] = []
  if (serialTypes.includes(type) || has('CONSTR_IDENTITY') || generated || (value && isVolatile(value))) {
    problems.push({
      rule: 'add-column-rewrite',
      message: `adding ${column} with a value that differs per row rewrites ${table} while nobody can read it`,
      safer: 'add the column without a default, set the default for new rows, fill the old ones in batches',
    })
  } else if (has('CONSTR_NOTNULL') && !value) {
    problems.push({
      rule: 'add-column-not-null',
      message: `adding ${column} NOT NULL without a default fails where ${table} has rows`,
      safer: 'give it a constant default, or add it nullable and fill it first',
    })
  }
  return [
    ...problems,
    ...constraints.filter(each => each.contype !== 'CONSTR_CHECK').flatMap(each => addConstraint(each, table)),
  ]
}

function addConstraint(constraint: Node, table: string): Problem[] {
  const type = constraint.contype
  if ((type === 'CONSTR_FOREIGN' || type === 'CONSTR_CHECK') && !constraint.skip_validation) {
    return [
      {
        rule: 'constraint-not-valid',
        message: `checking the constraint reads all of ${table} while nobody can write to it`,
        safer: 'ADD CONSTRAINT … NOT VALID, then VALIDATE CONSTRAINT in another file',
      },
    ]
  }
  if ((type === 'CONSTR_UNIQUE' || type === 'CONSTR_PRIMARY') && !constraint.indexname) {
    return [
      {
        rule: 'constraint-index',
        message: `the constraint builds its index while nobody can use ${table}`,
        safer: 'CREATE UNIQUE INDEX CONCURRENTLY first, then ADD CONSTRAINT … USING INDEX',
      },
    ]
  }
  return []
}

function allRows(verb: string, node: Node, context: RuleContext): Problem[] {
  const table = nameOf(node.relation as Node)
  if (node.whereClause || context.created.has(table)) return []
  return [
    {
      rule: 'update-all-rows',
      message: `${verb} of every row of ${table} in one transaction keeps them locked until its end`,
      safer: 'in batches, from a job of the application',
    },
  ]
}

function rewrite(what: string): Problem {
  return {
    rule: 'table-rewrite',
    message: `${what} rewrites the table while nobody can read it`,
    safer: 'pg_repack, or a time of your choosing outside a rollout',
  }
}
