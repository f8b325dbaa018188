import express from 'express'
import { currentConnection, currentTenant, isTenancyError } from 'tenantctl'
import { tenantContext } from 'tenantctl/express'
import { frontPage, issuesPage, messagePage, waitingPage } from './pages.js'

/**
 * The whole product: a front page with a sign-up on the bare domain, and a page of issues on each customer's
 * subdomain. The code of a customer's page never names a database.
 */
export function createApp(tenancy, { baseDomain, port }) {
  const urlOf = slug => `http://${slug}.${baseDomain}:${port}/`
  const app = express()
  app.disable('x-powered-by')
  app.use(express.urlencoded({ extended: false, limit: '10kb' }))

  const front = express.Router()
  front.get('/', (_request, response) => response.send(frontPage()))
  front.post('/sign-up', async (request, response) => {
    try {
      // Reserved at once, made by the worker: the visitor waits on his own subdomain.
      const { tenant } = await tenancy.queue.create({ name: String(request.body.name ?? '') })
      response.redirect(303, urlOf(tenant.slug))
    } catch (error) {
      if (!isTenancyError(error) || !['NAME_INVALID', 'TENANT_EXISTS'].includes(error.code)) throw error
      const message = error.code === 'TENANT_EXISTS' ? 'That name is taken already.' : 'That name cannot be used.'
      response.status(409).send(frontPage(message))
    }
  })

  const customer = express.Router()
  customer.use(
    tenantContext(tenancy, {
      baseDomain,
      customDomains: true,
      onRefused(error, _request, response, next) {
        if (error.code === 'TENANT_NOT_READY' || error.code === 'TENANT_FAILED') {
          response.setHeader('retry-after', '1')
          return response.status(503).send(waitingPage())
        }
        if (error.code === 'TENANT_SUSPENDED')
          return response.status(403).send(messagePage('This account is suspended.'))
        if (error.code === 'TENANT_NOT_FOUND') return response.status(404).send(messagePage('There is nothing here.'))
        next(error)
      },
    }),
  )
  customer.get('/', async (_request, response) => {
    const issues = await currentConnection()('issues').orderBy('id')
    response.send(issuesPage(currentTenant(), issues))
  })
  customer.post('/issues', async (request, response) => {
    const title = String(request.body.title ?? '')
      .trim()
      .slice(0, 200)
    if (title !== '') await currentConnection()('issues').insert({ title })
    response.redirect(303, '/')
  })
  customer.post('/issues/:id/close', async (request, response) => {
    if (/^\d{1,18}$/.test(request.params.id)) {
      await currentConnection()('issues').where({ id: request.params.id }).update({ closed: true })
    }
    response.redirect(303, '/')
  })

  app.use((request, response, next) => (request.hostname === baseDomain ? front : customer)(request, response, next))
  app.use((error, _request, response, _next) => {
    console.error(error)
    response.status(500).send(messagePage('Something went wrong. It has been noted.'))
  })
  return app
}
