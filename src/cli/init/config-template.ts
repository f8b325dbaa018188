/** Text of a new `tenantctl.config.ts`. A password never gets into it: the file is made to be committed. */
export function configFileText(
  registry: 'embedded' | { url: string | undefined },
  folders: { migrations: string; seeds: string },
): string {
  return `import { defineConfig } from 'tenantctl'

export default defineConfig({
${registryLines(registry)}
  migrations: { directory: ${quote(folders.migrations)} },
  seeds: { directory: ${quote(folders.seeds)} },
})
`
}

function registryLines(registry: 'embedded' | { url: string | undefined }): string {
  if (registry === 'embedded') {
    return `  // For development and tests. In production set TENANTCTL_REGISTRY_URL: the environment wins over this file.
  registry: 'embedded',`
  }
  const url = registry.url === undefined ? 'postgresql://admin:…@host:5432/tenantctl' : withoutPassword(registry.url)
  return `  // The registry's URL holds a password, so it comes from the environment and not from this file:
  //   export TENANTCTL_REGISTRY_URL='${url}'
  //   export TENANTCTL_ENCRYPTION_KEY="$(tenantctl key generate)"   # once; keep it where secrets live`
}

/** Keeps only what identifies the server: passwords can stand in a URL's parameters too. */
function withoutPassword(text: string): string {
  const parts = text.match(
    /^(postgres(?:ql)?:\/\/)(?:([^:@/?#]*)(?::[^@/?#]*)?@)?([^/?#@\s']*)(\/[^?#@\s':]*)?(?:[?#].*)?$/,
  )
  if (!parts) return 'postgresql://admin:…@host:5432/tenantctl'
  const [, scheme, user, host, database] = parts
  return `${scheme}${user ? `${user.replaceAll("'", '')}:…@` : ''}${host}${database ?? ''}`
}

function quote(text: string): string {
  return `'${JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`
}
