import { readFile } from 'node:fs/promises'
import type { ConnectionOptions } from 'node:tls'
import { TenancyError } from '../errors.ts'
import type { ServerAddress } from './address.ts'

/** What each sslmode means to libpq (manual, 34.19.1), in Node's words. `false`: no TLS. */
export async function tlsOptions(address: ServerAddress): Promise<ConnectionOptions | false> {
  if (address.sslmode === 'disable' || address.host.startsWith('/')) return false
  const ca = address.sslrootcert === 'system' ? undefined : await readPem('sslrootcert', address.sslrootcert)
  const cert = await readPem('sslcert', address.sslcert)
  const key = await readPem('sslkey', address.sslkey)
  // With a root certificate, `require` verifies the chain as `verify-ca` does.
  const verifiesChain = address.sslmode.startsWith('verify-') || (address.sslmode === 'require' && ca !== undefined)
  const verifiesHost = address.sslmode === 'verify-full'
  return {
    rejectUnauthorized: verifiesChain,
    ...(verifiesHost ? {} : { checkServerIdentity: () => undefined }),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  }
}

async function readPem(parameter: string, path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new TenancyError('TLS_FAILED', `${parameter}: cannot read ${path}`, { cause: error })
  }
}
