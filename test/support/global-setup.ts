/** One PostgreSQL server and one build for the run. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type {} from 'vitest'
import type { TestProject } from 'vitest/node'
import { sql } from './client.ts'
import { memoryFolder } from './memory.ts'
import { removeAbandoned, startServer } from './servers.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Home and working folder of processes that tests start. */
    emptyFolder: string
    server: {
      /** A superuser's, on a maintenance database. */
      superUrl: string
      /** As `plain_admin`: LOGIN CREATEDB CREATEROLE only. Null when the server was given by URL. */
      plainUrl: string | null
      major: number
      /** Null when the server was given by URL. */
      logFile: string | null
      /** True when databases of failed tests are to be looked at after the run. */
      keep: boolean
    }
  }
}

const root = fileURLToPath(new URL('../../', import.meta.url))

/**
 * TENANTCTL_TEST_URL       use this server (superuser) instead of starting one
 * TENANTCTL_TEST_POSTGRES  major version of the one to start (18)
 * TENANTCTL_TEST_LOG=all   let it log every statement
 * TENANTCTL_TEST_KEEP=1    leave it running, with the databases of failed tests
 * TMPDIR                   where to write; by default in memory, if there is enough
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  build()
  // For this process and, by their environment, for the workers and all that they start.
  process.env.TMPDIR ??= memoryFolder() ?? tmpdir()
  const emptyFolder = mkdtempSync(join(tmpdir(), 'tenantctl-home-'))
  const removeFolder = () => rmSync(emptyFolder, { recursive: true, force: true })
  project.provide('emptyFolder', emptyFolder)
  const keep = process.env.TENANTCTL_TEST_KEEP === '1'
  const given = process.env.TENANTCTL_TEST_URL
  if (given) {
    const [row] = await sql<{ major: number }>(
      given,
      "SELECT current_setting('server_version_num')::int / 10000 AS major",
    )
    project.provide('server', { superUrl: given, plainUrl: null, major: row?.major ?? 0, logFile: null, keep: true })
    return async () => removeFolder()
  }
  const major = Number(process.env.TENANTCTL_TEST_POSTGRES || 18)
  const settings = process.env.TENANTCTL_TEST_LOG === 'all' ? { log_statement: 'all' } : {}
  const server = await startServer({ major, settings, keep })
  const { superUrl, plainUrl, logFile } = server
  project.provide('server', { superUrl, plainUrl, major, logFile, keep })
  return async () => {
    removeFolder()
    if (keep) console.info(`PostgreSQL ${major} left running: ${superUrl} (pid ${server.pid}, ${server.directory})`)
    else await server.remove()
    await removeAbandoned()
  }
}

/** The tests of the command line run the built one. */
function build(): void {
  const dist = join(root, 'dist')
  if (existsSync(dist) && newest(dist) >= newest(join(root, 'src'))) return
  try {
    execFileSync('npm', ['run', '--silent', 'build'], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      encoding: 'utf8',
    })
  } catch (error) {
    // tsc writes its output in spite of type errors; tests that need what is missing will fail.
    console.error(`build failed:\n${(error as { stdout?: string }).stdout ?? error}`)
  }
}

function newest(folder: string): number {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  return Math.max(0, ...files.map(entry => statSync(join(entry.parentPath, entry.name)).mtimeMs))
}
