import { beforeAll, describe, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'
import { commandsOf, writeFolders } from './commands.ts'
import { announce, everything, factor } from './sampling.ts'
import { sweep } from './sweep.ts'

/*
 * Every changing command, stopped at every statement that it sends: a statement that is added to one is met without
 * anybody thinking of it.
 */

const namespace = useNamespace({ allowSessions: true })
const commands = commandsOf(namespace)

beforeAll(async () => {
  announce('sweeps')
  writeFolders(namespace)
  await namespace.track(createTenancy(namespace.config())).registry.install()
})

describe.each(Object.entries(commands))('%s, stopped at any statement', (_, command) => {
  test('is finished or undone by repair', { timeout: everything ? 3_600_000 : 120_000 * factor }, async () => {
    console.info(await sweep(namespace, command, 'program', 8))
  })
})
