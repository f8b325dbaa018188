import { expect, test } from 'vitest'
import { createTenancy, TenancyError } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()

/** Characters of two halves, one of which a cut divides whatever stands before them; and one that is stored nowhere. */
const messages = { even: '😀'.repeat(3_000), odd: `x${'😀'.repeat(3_000)}`, nul: 'before\0after' }

test.each(Object.entries(messages))(
  'an error that jsonb does not take as it is (%s) is in the journal',
  async (slug, message) => {
    namespace.writeMigrations({
      [`001_${slug}.js`]: `export const up = () => { throw new Error(${JSON.stringify(message)}) }\nexport const down = () => {}\n`,
    })
    const tenancy = namespace.track(createTenancy({ ...namespace.config(), template: false }))
    await expect(tenancy.tenants.create({ name: slug })).rejects.toThrow('step "migrate" failed')
    const [operation] = await tenancy.operations.list({ tenant: slug })
    expect(operation?.status).toBe('failed')
    expect(operation?.error?.message).toMatch(/^step "migrate" failed/)
  },
)

test('texts are cut to what can be stored', () => {
  const { message } = new TenancyError('INTERNAL', messages.odd)
  expect(message).toBe(`x${'😀'.repeat(1_999)}…`)
  expect(new TenancyError('INTERNAL', messages.even).message).toBe(`${'😀'.repeat(1_999)}\ufffd…`)
  expect(new TenancyError('INTERNAL', 'a\0b', { hint: '\ud800' })).toMatchObject({
    message: 'a\ufffdb',
    hint: '\ufffd',
  })
})
