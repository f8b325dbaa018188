import type { Knex } from 'knex'

/** Comments on issues, oldest first under each. */
export async function up(knex: Knex): Promise<void> {
  await knex.schema.createTable('comments', table => {
    table.bigIncrements('id')
    table.bigInteger('issue_id').notNullable().references('issues.id').onDelete('CASCADE')
    table.bigInteger('author_id').notNullable().references('users.id')
    table.text('body').notNullable()
    table.timestamp('created_at', { useTz: true }).notNullable().defaultTo(knex.fn.now())
    table.index(['issue_id', 'created_at'])
    table.index('author_id')
  })
}

export async function down(knex: Knex): Promise<void> {
  await knex.schema.dropTable('comments')
}
