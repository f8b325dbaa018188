import pg from 'pg'
import { TenancyError } from '../errors.ts'
import { isVerified } from './tls.ts'

/** What pg keeps to itself. */
interface Internals {
  password: unknown
  saslSession: unknown
  connection: { on(event: string, listener: () => void): void; emit(event: 'error', error: Error): void }
}

/**
 * A client that gives its password to nobody who only pretends to be the server. SCRAM tells neither the server nor a
 * listener what the password is; to send it in clear, or as the MD5 hash that guessing is fast on, is refused unless
 * the server's certificate was verified or it is reached through a socket of this machine.
 */
export class GuardedClient extends pg.Client {
  constructor(config: pg.ClientConfig = {}) {
    super(config)
    const trusted = isVerified(config.ssl) || (config.host ?? '').startsWith('/')
    const internals = this as unknown as Internals
    const { connection } = internals
    // Before pg's own listeners, which are added when it connects: they ask for the password, and get this error.
    const refuse = (what: string, hint: string) => () => {
      internals.password = () => {
        throw new TenancyError('AUTHENTICATION_FAILED', `the server asks for the password ${what}: refused`, { hint })
      }
    }
    const verify = 'connect with sslmode=verify-full (and sslrootcert), so that it is known who asks'
    if (!trusted) {
      connection.on('authenticationCleartextPassword', refuse('in clear', verify))
      connection.on(
        'authenticationMD5Password',
        refuse('as an MD5 hash', `let the server store it as SCRAM-SHA-256 (ALTER ROLE … PASSWORD), or ${verify}`),
      )
    }
    // A server that breaks off SCRAM has not shown that it knows the password.
    connection.on('authenticationOk', () => {
      if (!internals.saslSession) return
      const message = 'the server let us in without having proven that it knows the password'
      connection.emit('error', new TenancyError('AUTHENTICATION_FAILED', message))
    })
  }
}
