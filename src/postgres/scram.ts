import { createHash, createHmac, pbkdf2, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { TenancyError } from '../errors.ts'
import { Secret } from '../secrets/secret.ts'

const iterations = 4096

/**
 * The SCRAM-SHA-256 verifier of a password (RFC 5802, RFC 7677), which PostgreSQL stores as it stands
 * (manual, CREATE ROLE, PASSWORD): the password itself never reaches the server, its log or its statistics.
 */
export async function scramVerifier(password: Secret, salt: Buffer = randomBytes(16)): Promise<Secret> {
  const text = password.reveal()
  // Printable ASCII is its own SASLprep; anything else the server might normalise differently.
  if (!/^[\x20-\x7e]+$/.test(text)) {
    throw new TenancyError('USAGE', 'a password may hold printable ASCII characters only')
  }
  const salted = await promisify(pbkdf2)(text, salt, iterations, 32, 'sha256')
  const clientKey = createHmac('sha256', salted).update('Client Key').digest()
  const storedKey = createHash('sha256').update(clientKey).digest('base64')
  const serverKey = createHmac('sha256', salted).update('Server Key').digest('base64')
  return new Secret(`SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`)
}
