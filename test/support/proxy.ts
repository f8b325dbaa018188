/** A TCP proxy that stands between a client and a server, and fails as networks do. */
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Trouble {
  /** Cuts everything, for good, when so many bytes have gone through it in both directions. */
  cutAfter?: number | undefined
  /** At that point it passes nothing on any more but keeps the connections open, as a dead router does. */
  halfOpen?: boolean
  /** Milliseconds that each piece is held back. */
  latency?: number
}

export interface TcpProxy {
  port: number
  /** Bytes that have gone through, both directions. */
  passed(): number
  /** The point of `cutAfter` was reached. */
  hasCut(): boolean
  /** No trouble from now on, for connections that are made from now on. */
  heal(): void
  close(): Promise<void>
}

export async function startProxy(target: { host: string; port: number }, trouble: Trouble = {}): Promise<TcpProxy> {
  let passed = 0
  let cut = false
  let limit = trouble.cutAfter ?? Number.POSITIVE_INFINITY
  let latency = trouble.latency ?? 0
  const sockets = new Set<Socket>()

  function cutAll(): void {
    cut = true
    if (trouble.halfOpen) return
    for (const socket of sockets) socket.resetAndDestroy()
  }

  function pipe(from: Socket, to: Socket): void {
    // Pieces keep their order, however long each is held back.
    let before: Promise<unknown> = Promise.resolve()
    from.on('data', piece => {
      const rest = limit - passed
      passed += Math.min(piece.length, Math.max(0, rest))
      if (rest <= 0) return
      const allowed = piece.subarray(0, rest)
      before = before.then(async () => {
        if (latency > 0) await sleep(latency)
        to.write(allowed)
        if (piece.length >= rest) to.write('', cutAll)
      })
    })
    from.on('end', () => void before.then(() => (cut ? undefined : to.end())))
    from.on('close', () => void before.then(() => (cut && trouble.halfOpen ? undefined : to.destroy())))
    from.on('error', () => undefined)
  }

  const server = createServer(client => {
    if (cut && limit !== Number.POSITIVE_INFINITY) {
      // The network is down: nobody comes through any more.
      if (trouble.halfOpen) sockets.add(client.on('error', () => undefined))
      else client.resetAndDestroy()
      return
    }
    const upstream = connect(target.port, target.host)
    sockets.add(client)
    sockets.add(upstream)
    pipe(client, upstream)
    pipe(upstream, client)
  })
  await new Promise<void>(resolve => {
    server.listen(0, '127.0.0.1', resolve)
  })
  return {
    port: (server.address() as { port: number }).port,
    passed: () => passed,
    hasCut: () => cut,
    heal() {
      limit = Number.POSITIVE_INFINITY
      latency = 0
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise(resolve => server.close(resolve))
    },
  }
}
