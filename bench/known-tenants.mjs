/**
 * The child process of bench/connections.ts that knows thousands of tenants: what an application would be, with nothing
 * else in it. Gets the registry's address, a key and a slug's prefix; prints its memory before and after, in bytes.
 */
import { createTenancy } from '../dist/index.js'

const [registry, key, prefix, count] = process.argv.slice(2)
const tenancy = createTenancy({ registry: { url: registry }, encryption: { keys: [key] } })
const used = () => {
  globalThis.gc()
  return process.memoryUsage()
}

await tenancy.connections.get(`${prefix}0`)
const before = used()
for (let index = 0; index < Number(count); index += 1) await tenancy.connections.get(`${prefix}${index}`)
const after = used()
console.log(
  JSON.stringify({ known: tenancy.connections.stats().known, rss: after.rss, grown: after.heapUsed - before.heapUsed }),
)
await tenancy.close()
