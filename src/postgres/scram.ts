import { createHash, createHmac, pbkdf2, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { TenancyError } from '../errors.ts'
import { Secret } from '../secrets/secret.ts'

const iterations = 4096

/**
 * What SCRAM-SHA-256 makes of a password and a salt (RFC 5802, SaltedPassword): thousands of rounds of a hash, which
 * take longer than all else that a client does to log in. As secret as the password itself.
 */
export interface ScramKey {
  iterations: number
  /** Base64, as the server sends it. */
  salt: string
  salted: Buffer
}

/** What was worked out of a password, for as long as that is held. */
const keys = new WeakMap<Secret, Promise<ScramKey>>()

/** The key of a password that was worked out before, or stored with it; a login does without the rounds then. */
export function knownKey(password: Secret): Promise<ScramKey> | undefined {
  return keys.get(password)
}

function keyOf(password: Secret, salt: Buffer): Promise<ScramKey> {
  const key = derive(password, salt)
  keys.set(password, key)
  return key
}

async function derive(password: Secret, salt: Buffer): Promise<ScramKey> {
  const text = password.reveal()
  // Printable ASCII is its own SASLprep; anything else the server might normalise differently.
  if (!/^[\x20-\x7e]+$/.test(text)) {
    throw new TenancyError('USAGE', 'a password may hold printable ASCII characters only')
  }
  const salted = await promisify(pbkdf2)(text, salt, iterations, 32, 'sha256')
  return { iterations, salt: salt.toString('base64'), salted }
}

/**
 * The SCRAM-SHA-256 verifier of a password (RFC 5802, RFC 7677), which PostgreSQL stores as it stands
 * (manual, CREATE ROLE, PASSWORD): the password itself never reaches the server, its log or its statistics.
 */
export async function scramVerifier(password: Secret, salt?: Buffer): Promise<Secret> {
  const key = await ((salt ? undefined : knownKey(password)) ?? keyOf(password, salt ?? randomBytes(16)))
  const storedKey = sha256(hmac(key.salted, 'Client Key')).toString('base64')
  const serverKey = hmac(key.salted, 'Server Key').toString('base64')
  return new Secret(`SCRAM-SHA-256$${key.iterations}:${key.salt}$${storedKey}:${serverKey}`)
}

/** A password and its key as one text, to be sealed; `withoutKey` reads it. */
export async function withKey(password: Secret): Promise<Secret> {
  const { iterations, salt, salted } = await (knownKey(password) ?? keyOf(password, randomBytes(16)))
  return new Secret(`${password.reveal()} SCRAM-SHA-256$${iterations}:${salt}$${salted.toString('base64')}`)
}

/** The password alone; its key is known from then on. A text that holds no key is a password as it stands. */
export function withoutKey(text: Secret): Secret {
  const [, password, rounds, salt, salted] =
    /^(.*) SCRAM-SHA-256\$(\d+):([\w+/=]+)\$([\w+/=]+)$/.exec(text.reveal()) ?? []
  if (password === undefined || salt === undefined || salted === undefined) return text
  const secret = new Secret(password)
  keys.set(secret, Promise.resolve({ iterations: Number(rounds), salt, salted: Buffer.from(salted, 'base64') }))
  return secret
}

/**
 * The client's final message, and the signature by which the server shows that it knows the password, too (RFC 5802,
 * section 3), without channel binding. Undefined when the server's first message asks for another key.
 */
export function answer(
  key: ScramKey,
  clientNonce: string,
  serverFirst: string,
): { response: string; serverSignature: string } | undefined {
  const [, nonce, salt, rounds] = /^r=([^,]+),s=([^,]+),i=([^,]+)$/.exec(serverFirst) ?? []
  if (nonce === undefined || salt !== key.salt || Number(rounds) !== key.iterations) return undefined
  if (!nonce.startsWith(clientNonce) || nonce.length === clientNonce.length) return undefined
  const withoutProof = `c=biws,r=${nonce}`
  const message = `n=*,r=${clientNonce},${serverFirst},${withoutProof}`
  const clientKey = hmac(key.salted, 'Client Key')
  const signature = hmac(sha256(clientKey), message)
  const proof = Buffer.from(clientKey.map((byte, index) => byte ^ (signature[index] as number)))
  return {
    response: `${withoutProof},p=${proof.toString('base64')}`,
    serverSignature: hmac(hmac(key.salted, 'Server Key'), message).toString('base64'),
  }
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest()
}
