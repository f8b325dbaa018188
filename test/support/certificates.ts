/** Certificates for tests, made by openssl: an authority of one's own and what it vouches for. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Certificate {
  /** Paths of PEM files; the key's mode is 0600. */
  certFile: string
  keyFile: string
  cert: string
  key: string
}

export interface Authority extends Certificate {
  /** `names` as in an extension file: `DNS:localhost,IP:127.0.0.1`. `days` below 0: expired. */
  issue(options: { commonName: string; names?: string; days?: number }): Certificate
}

/** A folder of certificates; `remove()` deletes it. */
export function makeCertificates(): { authority(name: string): Authority; directory: string; remove(): void } {
  const directory = mkdtempSync(join(tmpdir(), 'tenantctl-certificates-'))
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' })
  const ellipticKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  let count = 0

  function files(): { certFile: string; keyFile: string } {
    count += 1
    return { certFile: join(directory, `${count}.crt`), keyFile: join(directory, `${count}.key`) }
  }
  function read({ certFile, keyFile }: { certFile: string; keyFile: string }): Certificate {
    return { certFile, keyFile, cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') }
  }

  return {
    directory,
    remove: () => rmSync(directory, { recursive: true, force: true }),
    authority(name) {
      const own = files()
      openssl('req', '-x509', ...ellipticKey, '-keyout', own.keyFile, '-out', own.certFile, '-subj', `/CN=${name}`)
      return {
        ...read(own),
        issue({ commonName, names, days = 2 }) {
          const issued = files()
          const request = join(directory, `${count}.csr`)
          const extensions = join(directory, `${count}.ext`)
          writeFileSync(extensions, names === undefined ? '' : `subjectAltName=${names}\n`)
          openssl('req', ...ellipticKey, '-keyout', issued.keyFile, '-out', request, '-subj', `/CN=${commonName}`)
          openssl(
            ...['x509', '-req', '-in', request, '-CA', own.certFile, '-CAkey', own.keyFile, '-CAcreateserial'],
            ...['-days', String(days), '-extfile', extensions, '-out', issued.certFile],
          )
          return read(issued)
        },
      }
    },
  }
}
