import { readFile, stat } from 'node:fs/promises'
import { type ConnectionOptions, checkServerIdentity, createSecureContext } from 'node:tls'
import { TenancyError } from '../errors.ts'
import type { ServerAddress } from './address.ts'

/** Authorities of the operating system or of Node, in the place of a file with some. */
const system = 'system'

/**
 * What the parameters of an address mean to libpq (manual, 34.19), in Node's words. `false`: no TLS. Throws
 * `TLS_FAILED` for files that cannot be used, and `CONFIG_INVALID` for parameters that contradict each other.
 */
export async function tlsOptions(address: ServerAddress): Promise<ConnectionOptions | false> {
  const { host, sslmode, sslrootcert } = address
  if (sslmode === 'disable' || host.startsWith('/')) return false
  refuseWeak(address)
  const ca = sslrootcert === system ? undefined : await readCertificates('sslrootcert', sslrootcert)
  const cert = await readCertificates('sslcert', address.sslcert)
  const key = await readKey(address)
  const options = {
    minVersion: 'TLSv1.2',
    // With a root certificate, `require` verifies the chain as `verify-ca` does.
    rejectUnauthorized: sslmode.startsWith('verify-') || (sslmode === 'require' && ca !== undefined),
    // Node would ask for the name that it was told for SNI, which an address has none of.
    checkServerIdentity: (_host, certificate) =>
      sslmode === 'verify-full' ? checkServerIdentity(host, certificate) : undefined,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  } satisfies ConnectionOptions
  try {
    createSecureContext(options)
  } catch (error) {
    const files = [address.sslrootcert, address.sslcert, address.sslkey].filter(file => file && file !== system)
    throw tlsFailed(`${files.join(', ')}: ${(error as Error).message}`, { cause: error })
  }
  return options
}

/** Whether the server at the other end was proven to be one that the authority vouches for. */
export function isVerified(ssl: ConnectionOptions | boolean | undefined): boolean {
  return typeof ssl === 'object' && ssl.rejectUnauthorized === true
}

/** Anybody can get a certificate from some authority of the system: only the host's name tells them apart. */
function refuseWeak({ sslmode, sslrootcert, sslcert, sslkey }: ServerAddress): void {
  if (sslrootcert === system && sslmode !== 'verify-full') {
    throw configInvalid(`sslrootcert=system needs sslmode=verify-full, found ${sslmode}`)
  }
  if (sslmode === 'verify-ca' && sslrootcert === undefined) {
    throw configInvalid('sslmode=verify-ca needs sslrootcert, the file of the authority', 'or use sslmode=verify-full')
  }
  if ((sslcert === undefined) !== (sslkey === undefined)) {
    const [given, missing] = sslcert === undefined ? ['sslkey', 'sslcert'] : ['sslcert', 'sslkey']
    throw configInvalid(`${given} needs ${missing}`)
  }
}

async function readCertificates(parameter: string, path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined
  const text = await readText(parameter, path)
  if (text.includes('-----BEGIN CERTIFICATE-----') || text.includes('-----BEGIN TRUSTED CERTIFICATE-----')) return text
  throw tlsFailed(`${parameter}: no certificate in ${path}`)
}

/** As libpq does, refuses a key that others may read; one of root's may be read by its group. */
async function readKey({ sslkey: path }: ServerAddress): Promise<string | undefined> {
  if (path === undefined) return undefined
  const text = await readText('sslkey', path)
  if (process.platform !== 'win32') {
    const { mode, uid } = await stat(path)
    if ((mode & (uid === 0 ? 0o037 : 0o077)) !== 0) {
      throw tlsFailed(`sslkey: ${path} may be read by others than its owner`, { hint: `chmod 600 ${path}` })
    }
  }
  return text
}

async function readText(parameter: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw tlsFailed(`${parameter}: cannot read ${path}`, { cause: error })
  }
}

function tlsFailed(message: string, facts: { hint?: string; cause?: unknown } = {}): TenancyError {
  return new TenancyError('TLS_FAILED', message, facts)
}

function configInvalid(message: string, hint?: string): TenancyError {
  return new TenancyError('CONFIG_INVALID', message, { hint })
}
