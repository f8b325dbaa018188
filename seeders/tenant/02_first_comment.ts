import type { Knex } from 'knex'

/** A first comment on the first issue, unless it has one. */
export async function seed(knex: Knex): Promise<void> {
  const issue = await knex('issues').where({ number: 1 }).first('id')
  const author = await knex('users').where({ email: 'ada@example.com' }).first('id')
  if (!issue || !author || (await knex('comments').where({ issue_id: issue.id }).first())) return
  await knex('comments').insert({
    issue_id: issue.id,
    author_id: author.id,
    body: 'On it: the index is not unaccented.',
  })
}
