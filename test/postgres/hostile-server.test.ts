import { createServer, type Server, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { parseAddress, type ServerAddress } from '../../src/postgres/address.ts'
import { connect } from '../../src/postgres/connect.ts'
import { Secret } from '../../src/secrets/secret.ts'
import { runBin } from '../support/process.ts'

const password = 'hunter2-and-a-half'

/** Messages of a server (manual, 55.7). */
const message = (type: string, body: Buffer): Buffer => {
  const length = Buffer.alloc(4)
  length.writeInt32BE(body.length + 4)
  return Buffer.concat([Buffer.from(type), length, body])
}
const number = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}
const authentication = (type: number, data: Buffer = Buffer.alloc(0)) =>
  message('R', Buffer.concat([number(type), data]))
const ok = Buffer.concat([authentication(0), message('Z', Buffer.from('I'))])
const cleartext = authentication(3)
const md5 = authentication(5, Buffer.from('salt'))
const sasl = authentication(10, Buffer.from('SCRAM-SHA-256\0\0'))
const saslContinue = (text: string) => authentication(11, Buffer.from(text))
const error = (text: string) => message('E', Buffer.from(`SFATAL\0C28000\0M${text}\0\0`))

interface Hostile {
  address: ServerAddress
  /** All that was sent to it. */
  heard(): string
}

let server: Server | undefined
const open = new Set<Socket>()
afterEach(() => {
  for (const socket of open) socket.destroy()
  server?.close()
})

/** A server that answers each packet with the next of its replies, whatever was said; a question for TLS with `tls`. */
async function hostile(
  replies: (Buffer | ((packet: Buffer) => Buffer))[],
  tls: string | Buffer = 'N',
): Promise<Hostile> {
  const heard: Buffer[] = []
  server = createServer(socket => {
    open.add(socket)
    const left = [...replies]
    socket
      .on('error', () => undefined)
      .on('data', packet => {
        heard.push(packet)
        if (packet.length === 8 && packet.readInt32BE(4) === 80877103) return void socket.write(tls)
        const reply = left.shift()
        if (reply) socket.write(typeof reply === 'function' ? reply(packet) : reply)
      })
  })
  await new Promise<void>(resolve => server?.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const url = `postgresql://admin:${password}@127.0.0.1:${port}/postgres?connect_timeout=2`
  return { address: parseAddress(new Secret(url)), heard: () => Buffer.concat(heard).toString('latin1') }
}

async function refusal(address: ServerAddress): Promise<{ code: string; message: string; hint?: string }> {
  const outcome = await connect(address).catch((error: unknown) => error)
  if (outcome instanceof Error) return outcome as Error & { code: string }
  throw new Error('was not refused')
}

describe('a server that only pretends to be one', () => {
  test.each([
    ['in clear', cleartext],
    ['as an MD5 hash', md5],
  ])('does not get the password %s', async (how, request) => {
    const { address, heard } = await hostile([request, ok])
    const refused = await refusal(address)
    expect(refused).toMatchObject({ code: 'AUTHENTICATION_FAILED', hint: expect.stringContaining('verify-full') })
    expect(refused.message).toContain(how)
    // What the client sends in its answer begins with a p.
    expect(heard()).not.toMatch(/p\0\0/)
    expect(heard()).not.toContain(password)
  })

  test('does not get it after having begun with SCRAM either', async () => {
    const { address, heard } = await hostile([sasl, cleartext, ok])
    expect((await refusal(address)).code).toBe('AUTHENTICATION_FAILED')
    expect(heard()).not.toContain(password)
  })

  test('cannot keep us busy with a thousand million iterations', async () => {
    const { address } = await hostile([
      sasl,
      packet => saslContinue(`r=${/r=([^\0,]+)/.exec(packet.toString())?.[1]}more,s=c2FsdA==,i=1000000000`),
    ])
    const begun = performance.now()
    expect(await refusal(address)).toMatchObject({
      code: 'AUTHENTICATION_FAILED',
      message: expect.stringContaining('1000000000'),
    })
    expect(performance.now() - begun).toBeLessThan(1_000)
  })

  test('cannot answer with a nonce of its own', async () => {
    const { address } = await hostile([sasl, saslContinue('r=mine,s=c2FsdA==,i=4096')])
    expect((await refusal(address)).code).toBe('AUTHENTICATION_FAILED')
  })

  test('cannot let us in before it has proven that it knows the password', async () => {
    const { address } = await hostile([sasl, ok])
    expect(await refusal(address)).toMatchObject({
      code: 'AUTHENTICATION_FAILED',
      message: expect.stringContaining('without having proven'),
    })
  })

  test('cannot prove it with a signature that is none', async () => {
    const first = (packet: Buffer) =>
      saslContinue(`r=${/r=([^\0,]+)/.exec(packet.toString())?.[1]}more,s=c2FsdA==,i=4096`)
    const { address, heard } = await hostile([
      sasl,
      first,
      Buffer.concat([authentication(12, Buffer.from('v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=')), ok]),
    ])
    expect((await refusal(address)).code).toBe('AUTHENTICATION_FAILED')
    expect(heard()).not.toContain(password)
  })

  test('cannot slip words in between the question for TLS and its beginning', async () => {
    const { address, heard } = await hostile([], Buffer.concat([Buffer.from('S'), cleartext]))
    const refused = await refusal({ ...address, sslmode: 'require' })
    expect(refused.code).toBe('TLS_FAILED')
    expect(heard()).toHaveLength(8)
  })

  test('cannot make us wait for ever', async () => {
    const { address } = await hostile([])
    const begun = performance.now()
    expect((await refusal(address)).code).toBe('CONNECTION_FAILED')
    expect(performance.now() - begun).toBeLessThan(6_000)
  })
})

describe('an error text', () => {
  // Clears the screen, sets the window's title, and a CSI of eight bits.
  const escapes = '\u001b[2J\u001b]0;pwned\u0007\u009b31m\r\nlogged in'

  test('of a million letters is cut', async () => {
    const { address } = await hostile([error('x'.repeat(1_000_000))])
    const { message } = await refusal(address)
    expect(message.length).toBeLessThan(3_000)
    expect(message).toContain('xxx')
  })

  test.each([[[] as string[]], [['--json']]])('with escape sequences does not reach the terminal (%j)', async flags => {
    const { address } = await hostile([error(escapes), error(escapes)])
    const registry = `postgresql://admin:${password}@127.0.0.1:${address.port}/postgres?sslmode=disable`
    const result = await runBin(['list', '--registry', registry, ...flags])
    expect(result.exitCode).toBe(6)
    expect(result.all).toContain('pwned')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this is about
    expect(result.all).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/)
    expect(result.all).not.toContain(password)
  })
})
