import { beforeAll, describe, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'
import { commandsOf, writeFolders } from './commands.ts'
import { announce, everything, factor } from './sampling.ts'
import { sweep } from './sweep.ts'

/* The sweeps over again, on the real command line, which is really killed: a few of them, since each is a process. */

const namespace = useNamespace({ allowSessions: true })
const commands = commandsOf(namespace)

beforeAll(async () => {
  announce('kills')
  writeFolders(namespace)
  await namespace.track(createTenancy(namespace.config())).registry.install()
})

// Each is a few processes: the others are for those who have time.
const usual = ['create', 'drop', 'retain', 'undrop', 'rotate', 'index']
const chosen = Object.entries(commands).filter(([name]) => everything || usual.includes(name))

describe.each(chosen)('tenantctl %s, killed at any statement', (_, command) => {
  test('is finished or undone by repair', { timeout: everything ? 3_600_000 : 120_000 * factor }, async () => {
    console.info(await sweep(namespace, command, 'process', 1))
  })
})
