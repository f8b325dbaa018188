import { type ChildProcess, spawn } from 'node:child_process'
import { chmod, mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll } from 'vitest'
import { embeddedServer } from '../../src/embedded/server.ts'

export const isRoot = process.getuid?.() === 0

const made: { base: string; directory: string }[] = []

/** Call it once in each file that makes projects: their servers and all files are gone when the file has run. */
export function useProjects(): void {
  afterAll(async () => {
    for (const { base, directory } of made.splice(0)) {
      await embeddedServer(directory).reset()
      await rm(base, { recursive: true, force: true })
    }
  })
}

/** A `.tenantctl` folder in a project folder of its own. */
export async function project(name = 'ein Projekt ü'): Promise<{ folder: string; directory: string }> {
  const base = await realpath(await mkdtemp(join(tmpdir(), 'tenantctl-embedded-')))
  const folder = join(base, name)
  const directory = join(folder, '.tenantctl')
  if (isRoot) await chmod(base, 0o755) // mkdtemp's 0700 would keep the server's user out
  made.push({ base, directory })
  return { folder, directory }
}

export async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {}) // a test may kill the server
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end().catch(() => {})
  }
}

/** Calls `start()` in another process; `outcome` is what it printed. */
export function startElsewhere(directory: string): {
  child: ChildProcess
  outcome: Promise<{ pid: number; url: string }>
} {
  const script = `
    import { embeddedServer } from ${JSON.stringify(new URL('../../dist/embedded/server.js', import.meta.url).href)}
    process.stdout.write(JSON.stringify(await embeddedServer(${JSON.stringify(directory)}).start()))`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout?.on('data', chunk => {
    stdout += chunk
  })
  child.stderr?.on('data', chunk => {
    stderr += chunk
  })
  // `close` comes when nobody holds its stdout any more: a server that inherited it would keep us waiting
  const outcome = new Promise<{ pid: number; url: string }>((resolve, reject) => {
    child.once('close', code =>
      code === 0 ? resolve(JSON.parse(stdout)) : reject(new Error(stderr || `exit code ${code}`)),
    )
  })
  outcome.catch(() => {})
  return { child, outcome }
}

export async function waitFor(condition: () => Promise<boolean>): Promise<void> {
  for (const until = Date.now() + 10_000; !(await condition()); ) {
    if (Date.now() > until) throw new Error('waited for 10 s in vain')
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}
