import { type ChildProcess, spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { useNamespace } from '../support/namespace.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const browserPath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync)
// The example leaves its sessions to the server that is killed with it.
const namespace = useNamespace({ allowSessions: true })
let server: ChildProcess
let port: number
let log = ''

beforeAll(async () => {
  const folder = join(namespace.directory, 'issue-tracker')
  cpSync(join(root, 'examples/issue-tracker'), folder, { recursive: true })
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(root, join(folder, 'node_modules/tenantctl'))
  symlinkSync(join(root, 'node_modules/express'), join(folder, 'node_modules/express'))
  port = await freePort()
  server = spawn(process.execPath, ['server.js'], {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      PORT: String(port),
      TENANTCTL_REGISTRY_URL: namespace.registryUrl,
      TENANTCTL_ENCRYPTION_KEY: namespace.encryptionKey,
    },
  })
  for (const stream of [server.stdout, server.stderr]) stream?.on('data', chunk => (log += chunk))
  await vi.waitFor(() => expect(log).toContain(`http://localhost:${port}`), { timeout: 20_000 })
})

afterAll(async () => {
  const ended = new Promise(resolve => server.once('exit', resolve))
  server.kill('SIGTERM')
  // A graceful end: the worker and all connections are done.
  expect(await ended, log).toBe(0)
})

afterEach(context => {
  if (context.task.result?.state === 'fail') console.error(log)
})

test('sign-up, a wait, a page of one’s own; two customers never see each other', async () => {
  expect((await ask('localhost')).body).toContain('Sign up')
  for (const name of ['Acme <b>', 'Globex']) {
    const answer = await ask('localhost', '/sign-up', { name })
    expect(answer.status).toBe(303)
    expect(answer.location).toBe(`http://${name === 'Globex' ? 'globex' : 'acme-b'}.localhost:${port}/`)
  }
  expect((await ask('localhost', '/sign-up', { name: 'Globex' })).body).toContain('taken already')
  for (const slug of ['acme-b', 'globex']) {
    await expect.poll(async () => (await ask(`${slug}.localhost`)).status, { timeout: 20_000 }).toBe(200)
  }
  await ask('acme-b.localhost', '/issues', { title: 'Broken <script>alert(1)</script>' })
  expect((await ask('acme-b.localhost')).body).toContain('Broken &lt;script&gt;')
  expect((await ask('globex.localhost')).body).toContain('No issues yet.')
  expect((await ask('nobody.localhost')).status).toBe(404)
  expect(log).not.toMatch(/error/i)
})

test.skipIf(browserPath === undefined)(
  'the same in a real browser',
  async () => {
    const browser = await chromium.launch({
      executablePath: browserPath as string,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    })
    try {
      const page = await browser.newPage()
      for (const name of ['Initech', 'Hooli']) {
        await page.goto(`http://localhost:${port}/`)
        await page.fill('input[name=name]', name)
        await page.click('button:has-text("Sign up")')
        // The waiting page comes by itself to the customer's own.
        await page.waitForSelector(`h1:text-is("${name}")`, { timeout: 20_000 })
        expect(page.url()).toBe(`http://${name.toLowerCase()}.localhost:${port}/`)
        await page.fill('input[name=title]', `Only ${name} may see this`)
        await page.click('button:has-text("Add")')
        await page.waitForSelector(`li:has-text("Only ${name} may see this")`)
      }
      const text = await page.textContent('body')
      expect(text).toContain('Only Hooli may see this')
      expect(text).not.toContain('Initech')
      await page.click('button:has-text("Close")')
      await page.waitForSelector('li.closed')
      await page.goto(`http://initech.localhost:${port}/`)
      expect(await page.textContent('ul')).not.toContain('Hooli')
    } finally {
      await browser.close()
    }
  },
  60_000,
)

/** Like a browser that was sent to a subdomain: the system need not know the name. */
function ask(
  host: string,
  path = '/',
  form?: Record<string, string>,
): Promise<{ status: number; body: string; location: string | undefined }> {
  return new Promise((resolve, reject) => {
    const body = form && new URLSearchParams(form).toString()
    const headers = {
      host: `${host}:${port}`,
      ...(body
        ? { 'content-type': 'application/x-www-form-urlencoded', 'content-length': Buffer.byteLength(body) }
        : {}),
    }
    const outgoing = request({ host: '127.0.0.1', port, path, method: form ? 'POST' : 'GET', headers }, response => {
      let text = ''
      response.on('data', chunk => (text += chunk))
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: text, location: response.headers.location }),
      )
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

function freePort(): Promise<number> {
  return new Promise(resolve => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}
