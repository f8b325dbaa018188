import { readFileSync } from 'node:fs'
import { type CliIo, write } from './io.ts'

/** Runs the command line and returns its exit code; never exits, so that a test can call it too. */
export async function main(argv: readonly string[], io: CliIo): Promise<number> {
  // Answered before commander is even loaded: scripts ask for the version often.
  if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) {
    await write(io.stdout, `${packageVersion()}\n`)
    return 0
  }
  const { runProgram } = await import('./program.ts')
  return await runProgram(argv, io, packageVersion())
}

// As deep in src/cli as in dist/cli.
function packageVersion(): string {
  const file = new URL('../../package.json', import.meta.url)
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}
