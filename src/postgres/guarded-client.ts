import pg from 'pg'
import { TenancyError } from '../errors.ts'
import { hostAndPort } from './address.ts'
import { answer, type ScramKey } from './scram.ts'
import { isVerified } from './tls.ts'

/** What pg keeps to itself. */
interface Internals {
  password: unknown
  saslSession: SaslSession | null | undefined
  _handleAuthSASLContinue(message: { data: string }): Promise<void>
  connection: {
    stream: { destroy(): void }
    sendSCRAMClientFinalMessage(response: string): void
    on(event: string, listener: () => void): void
    emit(event: 'error', error: Error): void
  }
}

interface SaslSession {
  clientNonce: string
  message: string
  response: string
  serverSignature?: string
}

export interface GuardedConfig extends pg.ClientConfig {
  /** Of the password: without one, or when the server asks for another, pg works it out at each login. */
  scramKey?: Promise<ScramKey> | undefined
}

/**
 * A client that gives its password to nobody who only pretends to be the server. SCRAM tells neither the server nor a
 * listener what the password is; to send it in clear, or as the MD5 hash that guessing is fast on, is refused unless
 * the server's certificate was verified or it is reached through a socket of this machine.
 */
export class GuardedClient extends pg.Client {
  constructor(config: GuardedConfig = {}) {
    super(config)
    const trusted = isVerified(config.ssl) || (config.host ?? '').startsWith('/')
    const internals = this as unknown as Internals
    const { connection } = internals
    const server = `the server at ${hostAndPort(this)}`
    // Before pg's own listeners, which are added when it connects: they ask for the password, and get this error.
    const refuse = (what: string, hint: string) => () => {
      internals.password = () => {
        throw new TenancyError('AUTHENTICATION_FAILED', `${server} asks for the password ${what}: refused`, { hint })
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
    // pg gives up a login without hanging up: the server would wait for an answer until its authentication_timeout.
    connection.on('error', () => connection.stream.destroy())
    // A server that breaks off SCRAM has not shown that it knows the password.
    connection.on('authenticationOk', () => {
      if (!internals.saslSession) return
      const message = `${server} let us in without having proven that it knows the password`
      connection.emit('error', new TenancyError('AUTHENTICATION_FAILED', message))
    })
    if (config.scramKey) answerBy(internals, config.scramKey)
  }
}

/** pg leaves the proof to WebCrypto, a thread's work for each hash of it. It goes on checking the server's. */
function answerBy(internals: Internals, scramKey: Promise<ScramKey>): void {
  const byPg = internals._handleAuthSASLContinue
  internals._handleAuthSASLContinue = async function (message) {
    const session = this.saslSession
    const key = await scramKey.catch(() => undefined)
    const own = key && isPlain(session) ? answer(key, session.clientNonce, message.data) : undefined
    if (!own) return byPg.call(this, message)
    Object.assign(session as SaslSession, own, { message: 'SASLResponse' })
    this.connection.sendSCRAMClientFinalMessage(own.response)
  }
}

/** As pg begins it when there is no channel binding. */
function isPlain(session: SaslSession | null | undefined): session is SaslSession {
  return session?.message === 'SASLInitialResponse' && session.response === `n,,n=*,r=${session.clientNonce}`
}
