import type { CliContext } from './context.ts'
import { CliError } from './errors.ts'
import { clean } from './output/sanitize.ts'

/**
 * Asks to retype a slug, a count or a word before something is destroyed.
 * Without a person at a terminal only --yes confirms: inquirer would read piped input, so that `yes |` would confirm.
 */
export async function confirmByRetyping(
  context: CliContext,
  question: { what: string; expected: string },
): Promise<void> {
  if (context.options.yes) return
  requireInteractive(context, question.what)
  const answer = await ask(context, {
    type: 'input',
    message: `${question.what.charAt(0).toUpperCase()}${question.what.slice(1)}.\n  Type ${question.expected} to confirm:`,
  })
  if (answer.trim() !== question.expected) {
    throw new CliError('CONFIRMATION_REQUIRED', 'the answer did not match; nothing was done')
  }
}

/** Shown with what is asked: the same names are in every environment, and this is not always the one that was meant. */
export async function registryInWords(context: CliContext): Promise<string> {
  const { settings } = await context.settings()
  return `registry ${clean(settings.find(({ key }) => key === 'registry')?.value)}`
}

/** Called before anything is looked up, so that a script without --yes fails the same way whatever exists. */
export function requireInteractive(context: CliContext, what: string): void {
  if (context.options.yes || context.interactive) return
  throw new CliError('CONFIRMATION_REQUIRED', `${what} needs a confirmation, and there is no terminal to ask on`, {
    hint: 'give --yes to confirm; nothing was done',
  })
}

export async function choose(
  context: CliContext,
  message: string,
  choices: { name: string; value: string }[],
): Promise<string> {
  return await ask(context, { type: 'select', message, choices })
}

/** Asks without echo: for URLs and whatever else may hold a password. */
export async function askHidden(context: CliContext, message: string): Promise<string> {
  return await ask(context, { type: 'password', message, mask: '*' })
}

async function ask(context: CliContext, question: object): Promise<string> {
  const { stdin, stderr } = context.io
  context.reporter.pause()
  const { default: inquirer } = await import('inquirer')

  // Ctrl-D closes the input, upon which inquirer would wait for an answer that cannot come, and node just end.
  const ended = new AbortController()
  const end = (): void => ended.abort()
  const onKey = (_text: string | undefined, key: { ctrl?: boolean; name?: string } | undefined): void => {
    if (key?.ctrl && key.name === 'd') setImmediate(() => stdin.isPaused() && end())
  }
  stdin.on('keypress', onKey).once('end', end)
  try {
    const signal = AbortSignal.any([context.signal, ended.signal])
    // On stderr: stdout carries the result alone.
    const prompt = inquirer.createPromptModule({ input: stdin, output: stderr, signal })
    const answers = await prompt([{ ...question, name: 'answer' } as never])
    return (answers as { answer: string }).answer
  } finally {
    stdin.off('keypress', onKey).off('end', end)
  }
}
