import { defineConfig } from 'tenantctl'

export default defineConfig({
  // For development. In production TENANTCTL_REGISTRY_URL and TENANTCTL_ENCRYPTION_KEY are set, and win.
  registry: 'embedded',
  migrations: { directory: 'migrations' },
  // The front page has the bare domain; these must not become somebody's subdomain.
  naming: { reserved: ['app', 'api', 'mail', 'status', 'support'] },
})
