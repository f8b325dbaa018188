import pg from 'pg'
import type { Client } from './connect.ts'

const givesUpAfterMs = 5_000

/** What pg keeps to itself, but a cancel request needs. */
interface Internals {
  host: string
  port: number
  ssl: boolean | object
  processID: number | null
  secretKey: number | null
}

interface RawConnection {
  connect(portOrPath: number | string, host?: string): void
  requestSsl(): void
  cancel(processID: number, secretKey: number): void
  on(event: string, listener: (error?: Error) => void): void
  stream: { destroy(): void }
}

/**
 * Asks the server to cancel what `client` runs, by the protocol's own request (manual, 54.2.8): it needs no login, so
 * that it works with no connection to spare, and goes through a pooler to the server. Over TLS when `client` uses it.
 */
export function requestCancel(client: Client): Promise<void> {
  const { host, port, ssl, processID, secretKey } = client as unknown as Internals
  if (processID === null || secretKey === null) return Promise.resolve()
  const connection = new (pg as unknown as { Connection: new (config: object) => RawConnection }).Connection({ ssl })
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => connection.stream.destroy(), givesUpAfterMs)
    const send = () => connection.cancel(processID, secretKey)
    connection.on('connect', ssl ? () => connection.requestSsl() : send)
    connection.on('sslconnect', send)
    // The server answers by closing the connection.
    connection.on('end', () => {
      clearTimeout(timer)
      resolve()
    })
    connection.on('error', reject)
    if (host.startsWith('/')) connection.connect(`${host}/.s.PGSQL.${port}`)
    else connection.connect(port, host)
  })
}
