/** A connection as the pool sees it. */
export interface PooledConnection {
  /** Nothing runs on it, no transaction is open, and the server is still there. */
  readonly clean: boolean
  /** Waits a moment for what is still running; afterwards `clean` says whether it can be used again. */
  settle(): Promise<void>
  /** Called once when the server or the network ends the connection. */
  onLost(listener: () => void): void
  /** Busy connections keep the process alive, idle ones do not. */
  setBusy(busy: boolean): void
  /** Ends it and waits until the server has let go of it. Never rejects. */
  close(): Promise<void>
}

export interface PoolLimits {
  /** Connections of the whole process. */
  max: number
  /** Connections of one tenant. */
  perTenant: number
  idleTimeoutMs: number
  acquireTimeoutMs: number
}

/** Whose connections they are, and how to open one more. */
export interface PoolTenant<Connection> {
  id: string
  slug: string
  /** Of server, database and role; connections to another place are not used any more. */
  place: string
  open(): Promise<Connection>
}

export type CloseReason = 'idle' | 'evicted' | 'lost' | 'unclean' | 'drained'

/** What happens in a pool, for events and metrics. */
export interface PoolObserver {
  poolOpened(slug: string): void
  poolClosed(slug: string, id: string): void
  connectionOpened(slug: string, durationMs: number): void
  connectionClosed(slug: string, reason: CloseReason): void
  waited(slug: string, durationMs: number): void
  timedOut(slug: string, durationMs: number): void
}

export interface PoolStats {
  /** Tenants that have a connection, or are waiting for one. */
  pools: number
  /** Connections that count against `connections.max`: opening, open and closing ones. */
  connections: number
  /** Of these, the ones that nobody uses. */
  idle: number
  /** Requests that wait for a connection now. */
  waiting: number
  /** Idle connections that were closed to make room for another tenant, since the start. */
  evictions: number
  /** Requests that waited in vain, since the start. */
  timeouts: number
}
