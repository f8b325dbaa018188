import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

export const host = '127.0.0.1'

/** A free port below those the system hands out for outgoing connections, so that it is likely to be free next time too. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 50; tries++) {
    const port = randomInt(20_000, 32_768)
    if (await portIsFree(port)) return port
  }
  return (await listen(0)) ?? 5432
}

export async function portIsFree(port: number): Promise<boolean> {
  return (await listen(port)) !== null
}

function listen(port: number): Promise<number | null> {
  return new Promise(resolve => {
    const server = createServer()
    server.once('error', () => resolve(null))
    server.listen({ port, host, exclusive: true }, () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : null))
    })
  })
}
