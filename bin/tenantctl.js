#!/usr/bin/env node
import module from 'node:module'

// Node >= 22.1 can keep compiled code between runs.
module.enableCompileCache?.()

// pg asks whether it runs at Cloudflare. Before Node 21, whose navigator tells, the answer took all of fetch to be loaded.
globalThis.navigator ??= { userAgent: `Node.js/${process.versions.node.split('.')[0]}` }

const { stdin, stdout, stderr, env } = process

// `tenantctl list | head -1`: a reader that has seen enough is no error, and must not stop a migration either.
for (const stream of [stdout, stderr]) {
  stream.on('error', error => {
    if (error.code === 'EPIPE') return
    process.exitCode = 1
    if (stream === stdout) stderr.write(`error: cannot write the result: ${error.message}\n`)
  })
}

// A terminal that goes away while someone is asked something: the prompt ends as with Ctrl-D.
stdin.on('error', () => stdin.destroy())

const { main } = await import('../dist/cli/main.js')
const exitCode = await main(process.argv.slice(2), {
  ...{ stdin, stdout, stderr, env },
  cwd: workingFolder(),
  signals: process,
  terminate: code => process.exit(code),
})
process.exitCode ||= exitCode

// Ends by itself as soon as nothing is pending; a handle that someone forgot may hold it for two seconds, not for ever.
setTimeout(() => process.exit(), 2000).unref()

/** A shell may stand in a folder that was deleted since. */
function workingFolder() {
  try {
    return process.cwd()
  } catch {
    return env.PWD ?? '/'
  }
}
