import { type FileHandle, link, open, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { TenancyError } from '../errors.ts'
import { ensureDirectory, writeTemporary } from './directory.ts'
import { errno, missing } from './failure.ts'
import { processBirth } from './process.ts'

const patience = 120_000

/**
 * Runs `work` while no other process does so for this folder, and gives it the folder's real path. The lock dies with
 * its holder.
 *
 * The file `lock.<n>` with the highest n is the lock; it names its holder by process id and time of birth. When it is
 * empty (released) or its holder is dead, `lock.<n+1>` may be made; `link` lets one of several win. Since the number
 * never goes back, whoever judged an old lock dead and then slept cannot take a newer one: it looks again after
 * linking. Files of the name `lock.new-*` are claims about to be linked; deleting one sends its writer back to look.
 */
export async function withLock<T>(directory: string, work: (directory: string) => Promise<T>): Promise<T> {
  const { real, lock } = await acquire(directory)
  try {
    return await work(real)
  } finally {
    await lock.truncate() // through the handle: after a reset a new lock may have our lock's name
    await lock.close()
  }
}

async function acquire(directory: string): Promise<{ real: string; lock: FileHandle }> {
  const me = JSON.stringify({ pid: process.pid, birth: await processBirth(process.pid) })
  const deadline = Date.now() + patience
  for (;;) {
    try {
      const real = await ensureDirectory(directory)
      const lock = await attempt(real, me)
      if (!('holder' in lock)) return { real, lock }
      if (Date.now() > deadline) {
        throw new TenancyError(
          'EMBEDDED_FAILED',
          `process ${lock.holder} has been at work on the embedded server for two minutes`,
          {
            hint: `see what process ${lock.holder} does, end it if it hangs, and try again`,
          },
        )
      }
    } catch (error) {
      // a reset has taken the folder or our claim away
      if (errno(error) !== 'ENOENT' || Date.now() > deadline) throw error
    }
    await sleep(30 + Math.random() * 30)
  }
}

async function attempt(directory: string, me: string): Promise<FileHandle | { holder: number | null }> {
  const current = await highest(directory)
  const holder = await livingHolder(directory, current)
  if (holder !== null) return { holder }
  const claim = await writeTemporary(directory, 'lock.new-', me)
  try {
    // looked at again once the claim is there: a reset that began in between has deleted the claim, and link fails
    if ((await highest(directory)) !== current) return { holder: null }
    const lock = join(directory, `lock.${current + 1}`)
    await link(claim, lock)
    if ((await highest(directory)) === current + 1) {
      await removeOlder(directory, current + 1)
      return await open(lock, 'r+')
    }
    await rm(lock, { force: true })
    return { holder: null }
  } catch (error) {
    if (errno(error) === 'EEXIST') return { holder: null }
    throw error
  } finally {
    await rm(claim, { force: true })
  }
}

async function highest(directory: string): Promise<number> {
  return Math.max(0, ...(await numbers(directory)))
}

async function numbers(directory: string): Promise<number[]> {
  return (await readdir(directory)).flatMap(name => /^lock\.(\d+)$/.exec(name)?.[1] ?? []).map(Number)
}

async function livingHolder(directory: string, number: number): Promise<number | null> {
  const text = await readFile(join(directory, `lock.${number}`), 'utf8').catch(missing)
  if (!text) return null
  try {
    const { pid, birth } = JSON.parse(text)
    return (await processBirth(pid)) === birth ? pid : null
  } catch {
    return null
  }
}

async function removeOlder(directory: string, number: number): Promise<void> {
  for (const old of await numbers(directory)) {
    if (old < number) await rm(join(directory, `lock.${old}`), { force: true })
  }
}
