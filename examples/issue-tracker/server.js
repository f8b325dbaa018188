import { fileURLToPath } from 'node:url'
import { createTenancy, resolveConfig } from 'tenantctl'
import { createApp } from './app.js'

const port = Number(process.env.PORT ?? 3000)
const baseDomain = process.env.BASE_DOMAIN ?? 'localhost'

// Settings come from tenantctl.config.js and the environment, as they do for the command line.
const { config } = await resolveConfig({ env: process.env, cwd: fileURLToPath(new URL('.', import.meta.url)) })
const tenancy = createTenancy(config)

// The worker may as well be a process of its own: `npx tenantctl worker`.
const stopping = new AbortController()
const working = tenancy.queue.work({ concurrency: 2, signal: stopping.signal })

const server = createApp(tenancy, { baseDomain, port }).listen(port, '127.0.0.1', error => {
  if (error) throw error
  console.log(`http://${baseDomain}:${port}`)
})

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    server.close()
    server.closeIdleConnections()
    stopping.abort()
    await working
    await tenancy.close()
  })
}
