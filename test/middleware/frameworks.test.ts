import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'
import fastify from 'fastify'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, currentConnection, currentTenant, isTenancyError, type Tenancy } from '../../src/index.ts'
import { tenantContext as expressTenant } from '../../src/middleware/express.ts'
import { tenantContext as fastifyTenant } from '../../src/middleware/fastify.ts'
import { withTenant } from '../../src/middleware/http.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
const slugs = ['acme', 'globex', 'initech']
const options = { baseDomain: 'example.com', customDomains: true } as const

let tenancy: Tenancy
beforeAll(async () => {
  namespace.writeMigrations({ '001.sql': 'CREATE TABLE marks (tenant text NOT NULL);' })
  tenancy = namespace.track(createTenancy(namespace.config({ connections: { max: 4, perTenant: 2 } })))
  await tenancy.tenants.createMany(slugs.map(slug => ({ name: slug, slug })))
  for (const slug of slugs) await tenancy.run(slug, ({ connection }) => connection('marks').insert({ tenant: slug }))
  await tenancy.domains.add('acme', 'app.acme.com')
  for (const [slug, status] of [
    ['asleep', 'suspended'],
    ['unborn', 'provisioning'],
    ['broken', 'failed'],
    ['leaving', 'dropping'],
  ] as const) {
    await tenancy.tenants.create({ name: slug })
    await setStatus(slug, status)
  }
}, 120_000)

function setStatus(slug: string, status: string): Promise<unknown> {
  const database = `${namespace.prefix}_registry`
  return namespace.superSql('UPDATE tenantctl.tenants SET status = $2 WHERE slug = $1', [slug, status], database)
}

/** What a handler can see, asked for in ways that lose a context in careless code. */
async function look(): Promise<{ tenant: string; row: string }> {
  await sleep(1)
  const [row] = await currentConnection()('marks').select('tenant')
  return { tenant: currentTenant().slug, row: row.tenant }
}

interface Answer {
  status: number
  headers: IncomingMessage['headers']
  body: Record<string, unknown>
}

function ask(port: number, host: string, body?: string, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({
      port,
      path: '/look',
      method: body === undefined ? 'GET' : 'POST',
      headers: { host, ...headers },
    })
    sent.on('error', reject)
    sent.on('response', response => {
      let text = ''
      response.on('data', chunk => {
        text += chunk
      })
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: JSON.parse(text) })
      })
    })
    sent.end(body)
  })
}

const opened: Server[] = []
afterAll(() => Promise.all(opened.map(server => new Promise(done => server.close(done)))))

function listen(server: Server): Promise<number> {
  opened.push(server)
  return new Promise(resolve => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })
}

/** Reads the body by listening, as body parsers do. */
function readBody(message: IncomingMessage): Promise<{ length: number; seen: string }> {
  return new Promise(resolve => {
    let length = 0
    let seen = ''
    message.on('data', chunk => {
      length += chunk.length
      seen = currentTenant().slug
    })
    message.on('end', () => resolve({ length, seen }))
  })
}

const frameworks: Record<string, (required?: boolean) => Promise<number>> = {
  async express(required = true) {
    const app = express()
    app.use(expressTenant(tenancy, { ...options, required }))
    app.use(express.json())
    app.get('/look', async (_request, response) => void response.json(required ? await look() : outside()))
    app.post('/look', async (request, response) => void response.json({ ...(await look()), got: request.body }))
    return listen(createServer(app))
  },
  async fastify(required = true) {
    const app = fastify()
    app.register(fastifyTenant(tenancy, { ...options, required }))
    app.get('/look', async () => (required ? look() : outside()))
    app.post('/look', async incoming => ({ ...(await look()), got: incoming.body }))
    await app.ready()
    opened.push(app.server)
    await app.listen({ port: 0, host: '127.0.0.1' })
    return (app.server.address() as AddressInfo).port
  },
  async http(required = true) {
    const listener = async (incoming: IncomingMessage, response: ServerResponse) => {
      const got = incoming.method === 'POST' ? await readBody(incoming) : undefined
      response.end(JSON.stringify({ ...(required ? await look() : outside()), got }))
    }
    return listen(createServer(withTenant(tenancy, { ...options, required }, listener)))
  },
}

function outside(): { outside: boolean } {
  try {
    currentTenant()
    return { outside: false }
  } catch (error) {
    return { outside: isTenancyError(error) && error.code === 'NO_TENANT_CONTEXT' }
  }
}

describe.each(Object.keys(frameworks))('%s', name => {
  let port: number
  beforeAll(async () => {
    port = await (frameworks[name] as () => Promise<number>)()
  })

  test('runs a request in the context of its tenant', async () => {
    expect(await ask(port, 'acme.example.com')).toMatchObject({ status: 200, body: { tenant: 'acme', row: 'acme' } })
    expect((await ask(port, 'GLOBEX.example.com.:81')).body).toEqual({ tenant: 'globex', row: 'globex' })
    expect((await ask(port, 'App.Acme.Com')).body).toEqual({ tenant: 'acme', row: 'acme' })
  })

  test('keeps the context over the reading of a body', async () => {
    const body = JSON.stringify({ text: 'x'.repeat(90_000) })
    const headers = { 'content-type': 'application/json' }
    const answers = await Promise.all(slugs.map(slug => ask(port, `${slug}.example.com`, body, headers)))
    expect(answers.map(answer => answer.body.tenant)).toEqual(slugs)
    if (name === 'http') expect(answers.map(({ body: { got } }) => (got as { seen: string }).seen)).toEqual(slugs)
  })

  test('mixes nothing up under load', async () => {
    const answers = await Promise.all(
      Array.from({ length: 150 }, async (_, index) => {
        const slug = slugs[index % 3] as string
        return [slug, (await ask(port, `${slug}.example.com`)).body] as const
      }),
    )
    for (const [slug, body] of answers) expect(body).toEqual({ tenant: slug, row: slug })
  })

  test.each([
    ['nobody.example.com', 404, 'TENANT_NOT_FOUND'],
    ['example.com', 404, 'TENANT_NOT_FOUND'],
    ['app.globex.com', 404, 'TENANT_NOT_FOUND'],
    ['a.acme.example.com', 404, 'TENANT_NOT_FOUND'],
    ['leaving.example.com', 404, 'TENANT_NOT_FOUND'],
    ['asleep.example.com', 403, 'TENANT_SUSPENDED'],
    ['unborn.example.com', 503, 'TENANT_NOT_READY'],
    ['broken.example.com', 503, 'TENANT_FAILED'],
  ])('answers %s with %i', async (host, status, code) => {
    const answer = await ask(port, host)
    expect(answer).toMatchObject({ status, body: { error: { code } } })
    expect(answer.headers['cache-control']).toBe('no-store')
    expect(answer.headers['retry-after']).toBe(status === 503 ? '2' : undefined)
    expect(JSON.stringify(answer.body)).not.toMatch(/tenantctl|database|role/)
  })

  test('a forged X-Forwarded-Host changes nothing', async () => {
    const answer = await ask(port, 'acme.example.com', undefined, { 'x-forwarded-host': 'globex.example.com' })
    expect(answer.body).toEqual({ tenant: 'acme', row: 'acme' })
  })

  test('a request without tenant passes outside of any context, when that is wanted', async () => {
    const open = await (frameworks[name] as (required: boolean) => Promise<number>)(false)
    expect((await ask(open, 'example.com')).body).toEqual({ outside: true })
    expect((await ask(open, 'acme.example.com')).body).toEqual({ outside: false })
    expect((await ask(open, 'nobody.example.com')).status).toBe(404)
  })
})

test('answers of one’s own', async () => {
  const app = express()
  app.use(
    expressTenant(tenancy, {
      header: 'x-tenant',
      onRefused: (error, _request, response) => {
        response.status(418)
        response.end(JSON.stringify({ code: isTenancyError(error) && error.code }))
      },
    }),
  )
  const port = await listen(createServer(app))
  expect(await ask(port, 'x', undefined, { 'x-tenant': 'asleep' })).toMatchObject({
    status: 418,
    body: { code: 'TENANT_SUSPENDED' },
  })
})

test('an error of a handler is the framework’s, and is told once', async () => {
  const app = express()
  app.use(expressTenant(tenancy, options))
  app.get('/look', () => {
    throw new Error('mine')
  })
  let told = 0
  app.use((error: Error, _request: unknown, response: express.Response, _next: unknown) => {
    told += 1
    response.status(500).json({ message: error.message })
  })
  const port = await listen(createServer(app))
  expect(await ask(port, 'acme.example.com')).toMatchObject({ status: 500, body: { message: 'mine' } })
  expect(told).toBe(1)
})

describe('domains', () => {
  test('are added, listed, resolved and removed; other processes hear of it', async () => {
    const elsewhere = namespace.track(createTenancy(namespace.config()))
    expect(await elsewhere.domains.resolve('www.globex.org')).toBeUndefined()
    expect(await tenancy.domains.add('globex', 'WWW.Globex.org.')).toMatchObject({
      domain: 'www.globex.org',
      tenant: 'globex',
    })
    await tenancy.domains.add('globex', 'www.globex.org')
    expect(await elsewhere.domains.resolve('www.GLOBEX.org:443')).toBe('globex')
    await expect(tenancy.domains.add('acme', 'www.globex.org')).rejects.toMatchObject({ code: 'DOMAIN_EXISTS' })
    expect((await tenancy.domains.list('globex')).map(each => each.domain)).toEqual(['www.globex.org'])
    expect((await tenancy.domains.list()).map(each => each.domain)).toEqual(['app.acme.com', 'www.globex.org'])
    await tenancy.domains.remove('www.globex.org')
    for (const end = Date.now() + 3_000; await elsewhere.domains.resolve('www.globex.org'); await sleep(10)) {
      if (Date.now() > end) throw new Error('the removal was not heard of')
    }
    await expect(tenancy.domains.remove('www.globex.org')).rejects.toMatchObject({ code: 'DOMAIN_NOT_FOUND' })
  })

  test('go with their tenant', async () => {
    await tenancy.tenants.create({ name: 'fleeting' })
    await tenancy.domains.add('fleeting', 'fleeting.org')
    await tenancy.tenants.drop({ tenants: ['fleeting'] }, { force: true })
    expect(await tenancy.domains.list()).not.toContainEqual(expect.objectContaining({ domain: 'fleeting.org' }))
  })
})
