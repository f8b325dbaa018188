import type { CliContext } from './context.ts'
import { CliError } from './errors.ts'

/** Folder of the embedded server, also when the project is configured to use another server. */
export async function embeddedDirectory(context: CliContext): Promise<string> {
  const { settings } = await context.settings()
  const directory = settings.find(setting => setting.key === 'embedded.directory')?.value
  if (typeof directory !== 'string') throw new CliError('INTERNAL', 'the folder of the embedded server is not known')
  return directory
}
