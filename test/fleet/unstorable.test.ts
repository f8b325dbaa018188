import { expect, test } from 'vitest'
import { createTenancy, TenancyError } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()

/** A character of two halves that the longest message cuts in two, and one that PostgreSQL stores nowhere. */
const messages = [`${'x'.repeat(3_998)}😀😀`, 'before\0after']

test.each(messages)(
  'an error that jsonb does not take as it is, is in the ledger and the journal all the same',
  async message => {
    namespace.writeMigrations({
      '001_fails.js': `export const up = () => { throw new Error(${JSON.stringify(message)}) }\nexport const down = () => {}\n`,
    })
    const tenancy = namespace.track(createTenancy({ ...namespace.config(), template: false }))
    const slug = message.startsWith('x') ? 'long' : 'nul'
    await expect(tenancy.tenants.create({ name: slug })).rejects.toThrow('step "migrate" failed')
    const [operation] = await tenancy.operations.list({ tenant: slug })
    expect(operation).toMatchObject({ status: 'failed', error: { step: 'migrate' } })
    expect(operation?.error?.message).toMatch(/^step "migrate" failed/)
  },
)

test('messages are cut to what can be stored', () => {
  const { message } = new TenancyError('INTERNAL', messages[0] as string)
  expect(message).toBe(`${'x'.repeat(3_998)}\ufffd…`)
  expect(new TenancyError('INTERNAL', 'a\0b', { hint: '\ud800' })).toMatchObject({
    message: 'a\ufffdb',
    hint: '\ufffd',
  })
})
