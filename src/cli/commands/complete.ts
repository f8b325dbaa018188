import { Command, type Option } from 'commander'
import { defineCommand, examples } from '../command.ts'
import { type CommandEntry, type CommandGroup, commandTable } from '../commands.ts'
import type { CliContext } from '../context.ts'
import { addGlobalOptions } from '../global-options.ts'
import { clean } from '../output/sanitize.ts'

interface Candidate {
  value: string
  description?: string
}

/** A key press must not wait longer than this for a server. */
const patienceMs = 2000

/** What the completion scripts call. It completes or stays silent: an error would be printed into someone's prompt. */
export default defineCommand<string[], Candidate[]>({
  configure(command) {
    command.argument('[words...]', 'the words typed so far')
    examples(command, ['tenantctl __complete -- migr'])
  },
  read: command => command.processedArgs[0] as string[],
  async run(words, context) {
    const typed = words.at(-1) ?? ''
    const candidates = await complete(words, () => tenantSlugs(context)).catch(() => [])
    return candidates.filter(({ value }) => value.startsWith(typed))
  },
  text: candidates =>
    candidates
      .map(({ value, description }) => (description ? `${clean(value)}\t${clean(description)}` : clean(value)))
      .join('\n'),
  arrayKey: 'candidates',
})

/** Candidates for the last word; `slugs` is asked only where a tenant can stand. */
export async function complete(words: readonly string[], slugs: () => Promise<string[]>): Promise<Candidate[]> {
  const typed = words.at(-1) ?? ''
  const before = words.slice(0, -1)
  if (before.includes('--')) return []

  const program = new Command()
  addGlobalOptions(program)
  const place = await walk(before, program)
  if (place.awaitingValue) return values(place.awaitingValue, '')
  const options = [...place.command.options, ...(place.command === program ? [] : program.options)]
  if (typed.startsWith('-')) {
    const [flag, ...value] = typed.split('=')
    const option = value.length > 0 ? options.find(({ long }) => long === flag) : undefined
    if (option) return values(option, `${flag}=`)
    return options.flatMap(({ long, description }) => (long ? [{ value: long, description }] : []))
  }
  if (place.entries)
    return place.entries
      .filter(entry => !('hidden' in entry))
      .map(({ name, summary }) => ({ value: name, description: summary }))

  const declared = place.command.registeredArguments
  const argument = declared[Math.min(place.operands, declared.length - 1)]
  if (!argument || (place.operands >= declared.length && !argument.variadic)) return []
  if (argument.argChoices) return argument.argChoices.map(value => ({ value }))
  return argument.name() === 'tenant' ? (await slugs()).map(value => ({ value })) : []
}

interface Place {
  command: Command
  /** Set while a command's name is still to come. */
  entries: readonly (CommandEntry | CommandGroup)[] | undefined
  operands: number
  awaitingValue: Option | undefined
}

/** Follows the words to the command they lead to, and loads that one to know its options. */
async function walk(words: readonly string[], program: Command): Promise<Place> {
  const place: Place = {
    command: program,
    entries: Object.values(commandTable).flat(),
    operands: 0,
    awaitingValue: undefined,
  }
  for (const word of words) {
    if (place.awaitingValue) place.awaitingValue = undefined
    else if (word.startsWith('-') && word !== '-') {
      const option = [...place.command.options, ...program.options].find(
        ({ long, short }) => word === long || word === short,
      )
      if (option?.required) place.awaitingValue = option
    } else if (place.entries) {
      const entry = place.entries.find(({ name }) => name === word)
      if (!entry) throw new Error('no such command')
      if ('commands' in entry) place.entries = entry.commands
      else {
        place.entries = undefined
        place.command = new Command(entry.name)
        const module = await entry.load()
        module.configure(place.command)
      }
    } else place.operands += 1
  }
  return place
}

function values(option: Option, prefix: string): Candidate[] {
  return (option.argChoices ?? []).map(value => ({ value: `${prefix}${value}` }))
}

async function tenantSlugs(context: CliContext): Promise<string[]> {
  const { settings } = await context.settings()
  const setting = (key: string): unknown => settings.find(candidate => candidate.key === key)?.value
  if (setting('registry') === 'embedded') {
    // Pressing Tab must not start a server.
    const { embeddedServer } = await context.library()
    const { state } = await embeddedServer(String(setting('embedded.directory'))).status()
    if (state !== 'running') return []
  }
  const { tenants } = await context.tenancy()
  const impatient = new Promise<[]>(resolve => setTimeout(resolve, patienceMs, []).unref())
  const listed = await Promise.race([tenants.list({ sort: 'slug', limit: 1000 }), impatient])
  return listed.map(tenant => tenant.slug)
}
