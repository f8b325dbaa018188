import * as v from 'valibot'
import { nearest } from '../nearest.ts'
import { type EncryptionProvider, isEncryptionProvider } from '../secrets/provider.ts'
import { Secret } from '../secrets/secret.ts'
import type { Duration, TenancyConfig } from './config.ts'
import { durationExpected, parseDuration, parseRetention, retentionExpected } from './duration.ts'
import { hookNames } from './hooks.ts'
import { sslModes } from './url.ts'

// Every message below completes "expected …".
const text = (expected: string, pattern = /\S/) => v.pipe(v.string(expected), v.regex(pattern, expected))
const secret = (expected: string) => v.union([text(expected), v.instance(Secret)], expected)
const atLeast = (least: number, expected: string) =>
  v.pipe(v.number(expected), v.integer(expected), v.minValue(least, expected), v.maxValue(100_000, expected))
const duration = v.custom<Duration>(
  value => (typeof value === 'string' || typeof value === 'number') && parseDuration(value) !== null,
  durationExpected,
)
const group = <Entries extends v.ObjectEntries>(entries: Entries) =>
  v.optional(v.object(entries, `an object with ${words(Object.keys(entries))}`))
const folder = v.optional(text('the path of a folder'))
const count = v.optional(atLeast(1, 'a whole number from 1'))
const pooler = v.object(
  {
    host: text('a host'),
    port: v.pipe(atLeast(1, 'a port'), v.maxValue(65_535, 'a port')),
    sslmode: v.optional(v.picklist(sslModes, `one of ${sslModes.join(', ')}`)),
  },
  'an object with host, port and sslmode',
)
const server = v.object({ url: secret('a URL'), via: v.optional(pooler) }, 'an object with url')
const stock = 'a whole number from 0 to 1000'
const failures = "a whole number from 0, or a share such as '10%'"

const names = v.object(
  {
    prefix: v.optional(
      text(
        'at most 40 characters of a-z, 0-9 and _, not beginning with a digit or pg_',
        /^(?!pg_)(?:[a-z_][a-z0-9_]{0,39})?$/,
      ),
    ),
    database: v.optional(
      v.custom<NonNullable<Exclude<TenancyConfig['naming'], string | undefined>['database']>>(
        value => typeof value === 'function',
        'a function from a tenant to a name',
      ),
    ),
    reserved: v.optional(v.array(text('a slug'), 'a list of slugs')),
  },
  'an object',
)

const hook = v.optional(v.custom<() => unknown>(value => typeof value === 'function', 'a function'))

const configSchema = v.object(
  {
    registry: v.optional(
      v.lazy(input =>
        typeof input === 'object' && input !== null
          ? server
          : v.literal('embedded', "'embedded', or an object with url"),
      ),
    ),
    embedded: group({ directory: folder }),
    servers: v.optional(
      v.record(
        v.pipe(
          text("a server's name of a-z, 0-9 and -, beginning with a letter", /^[a-z][a-z0-9-]{0,62}$/),
          v.check(name => name !== 'default', "another name, since 'default' is the registry's own server"),
        ),
        server,
        'an object of servers by name',
      ),
    ),
    encryption: group({
      keys: v.optional(v.array(secret('a key of 32 bytes in base64'), 'a list of keys')),
      provider: v.optional(
        v.custom<EncryptionProvider>(isEncryptionProvider, 'an object with the functions encrypt and decrypt'),
      ),
    }),
    migrations: group({
      directory: folder,
      lockTimeout: v.optional(duration),
      statementTimeout: v.optional(duration),
    }),
    seeds: group({ directory: folder }),
    roles: v.optional(v.picklist(['single', 'separate'], "'single' or 'separate'")),
    naming: v.optional(
      v.lazy(input =>
        typeof input === 'object' && input !== null ? names : v.literal('opaque', "'opaque', or an object"),
      ),
    ),
    database: group({
      extensions: v.optional(
        v.array(text("an extension's name, at most 63 letters", /^[^\0\s"]{1,63}$/), 'a list of extensions'),
      ),
      connectionLimit: v.optional(
        v.pipe(
          atLeast(-1, 'a whole number from 1, or -1 for no limit'),
          v.notValue(0, 'a whole number from 1, or -1 for no limit'),
        ),
      ),
    }),
    template: v.optional(v.boolean('true or false')),
    pool: group({ size: v.optional(v.pipe(atLeast(0, stock), v.maxValue(1000, stock))) }),
    fleet: group({
      concurrency: count,
      concurrencyPerServer: count,
      fingerprint: v.optional(v.boolean('true or false')),
      verify: v.optional(
        v.custom<NonNullable<NonNullable<TenancyConfig['fleet']>['verify']>>(
          value => typeof value === 'function',
          'a function of a tenant and a knex on its database',
        ),
      ),
      maxFailures: v.optional(
        v.union([atLeast(0, failures), text(failures, /^(?:\d{1,6}|(?:100|\d{1,2})(?:\.\d+)?%)$/)], failures),
      ),
    }),
    connections: group({
      max: count,
      perTenant: count,
      idleTimeout: v.optional(duration),
      acquireTimeout: v.optional(duration),
      registryTtl: v.optional(duration),
      via: v.optional(pooler),
    }),
    drop: group({
      backup: v.optional(v.object({ directory: text('the path of a folder') }, 'an object with directory')),
      requireBackup: v.optional(v.union([v.boolean(), v.literal('fleet')], "true, false or 'fleet'")),
      retain: v.optional(v.custom<Duration>(value => parseRetention(value) !== null, retentionExpected)),
    }),
    tools: group({ directory: folder }),
    hooks: group(
      Object.fromEntries(hookNames.map(name => [name, hook])) as Record<(typeof hookNames)[number], typeof hook>,
    ),
    onEvent: v.optional(
      v.custom<NonNullable<TenancyConfig['onEvent']>>(value => typeof value === 'function', 'a function'),
    ),
  },
  'an object',
)

/** Whatever is wrong with a configuration: one line for each, with the key's path and never a secret's value. */
export function checkConfig(input: unknown): { config: TenancyConfig } | { problems: string[] } {
  const result = v.safeParse(configSchema, input)
  const problems = [
    ...unknownKeys(configSchema, input, []),
    ...(result.issues ?? []).map(issue => {
      const path = (issue.path ?? []).map(item => item.key as string | number)
      const last = issue.path?.at(-1)
      // A server's name: what is wrong is the key, not what stands under it.
      if (last?.origin === 'key' && issue.received !== 'undefined') {
        return `${formatPath(path)}: expected ${issue.message}, found ${JSON.stringify(last.key)}`
      }
      return line(path, expectation(issue), last ? last.value : input)
    }),
  ]
  return problems.length > 0 || !result.success ? { problems } : { config: result.output }
}

/** `migrations.lockTimeout: expected a duration, found "soon"` */
function line(path: (string | number)[], expected: string, found: unknown): string {
  const key = formatPath(path)
  return `${key === '' ? '' : `${key}: `}expected ${expected}, found ${describe(found, path[0])}`
}

function formatPath(path: readonly (string | number)[]): string {
  return path.map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? part : `.${part}`)).join('')
}

/** valibot tells an absent key in the words of the object around it; the only keys ever required are these two. */
function expectation(issue: v.BaseIssue<unknown>): string {
  const last = issue.path?.at(-1)
  if (issue.type !== 'object' || last?.origin !== 'key') return issue.message
  return last.key === 'directory' ? 'the path of a folder' : 'a URL'
}

const secretive = new Set<unknown>(['registry', 'servers', 'encryption'])

function describe(value: unknown, section: unknown): string {
  if (value === undefined) return 'nothing (undefined)'
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object' || typeof value === 'function')
    return typeof value === 'object' ? 'an object' : 'a function'
  if (typeof value !== 'string') return String(value)
  if (value.trim() === '') return 'an empty text'
  // A password may also sit in a URL that was put under the wrong key.
  if (secretive.has(section) || value.includes('://')) return 'another text'
  return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
}

// valibot's strictObject stops at an object's first unknown key; people want them all.
function unknownKeys(schema: unknown, input: unknown, path: (string | number)[]): string[] {
  if (typeof input !== 'object' || input === null || input instanceof Secret) return []
  const inner = unwrap(schema, input)
  if ('entries' in inner) {
    const known = Object.keys(inner.entries)
    return Object.entries(input).flatMap(([key, value]) =>
      known.includes(key)
        ? unknownKeys(inner.entries[key], value, [...path, key])
        : [unknownKey([...path, key], known)],
    )
  }
  if (!('value' in inner)) return []
  return Object.entries(input).flatMap(([key, value]) => unknownKeys(inner.value, value, [...path, key]))
}

function unwrap(schema: unknown, input: unknown): { entries: Record<string, unknown> } | { value: unknown } | object {
  const { type, wrapped, getter } = schema as { type: string; wrapped?: unknown; getter?: (input: unknown) => unknown }
  if (type === 'optional') return unwrap(wrapped, input)
  if (type === 'lazy' && getter) return unwrap(getter(input), input)
  return type === 'object' || type === 'record' ? (schema as object) : {}
}

function unknownKey(path: (string | number)[], known: string[]): string {
  const [meant] = nearest(String(path.at(-1)), known)
  const guess = meant === undefined ? `expected ${words(known)}` : `did you mean ${meant}?`
  return `${formatPath(path)}: no such key; ${guess}`
}

function words(list: string[]): string {
  return list.length < 2 ? list.join('') : `${list.slice(0, -1).join(', ')} or ${list.at(-1)}`
}
