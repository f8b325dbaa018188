import type { CliContext } from './context.ts'
import { CliError } from './errors.ts'

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
    message: `${question.what}\nType ${question.expected} to confirm:`,
  })
  if (answer.trim() !== question.expected) {
    throw new CliError('CONFIRMATION_REQUIRED', 'the answer did not match; nothing was done')
  }
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
  context.reporter.pause()
  const { default: inquirer } = await import('inquirer')
  // On stderr: stdout carries the result alone.
  const prompt = inquirer.createPromptModule({
    input: context.io.stdin,
    output: context.io.stderr,
    signal: context.signal,
  })
  const answers = await prompt([{ ...question, name: 'answer' } as never])
  return (answers as { answer: string }).answer
}
