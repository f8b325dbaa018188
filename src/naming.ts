import { createHash } from 'node:crypto'
import { TenancyError } from './errors.ts'

/** How names of slugs, databases and roles are made; part of the configuration. */
export interface NamingRules {
  /** What names of databases begin with. */
  prefix: string
  /** Takes the place of prefix and slug. */
  database?: (tenant: { slug: string; id: string; name: string }) => string
  /** Slugs that are refused beside our own. */
  reserved: string[]
}

/** PostgreSQL cuts longer identifiers without an error (manual, 4.1.1), so that two of them become one. */
const longestIdentifier = 63
/** A slug may become a label of a host name (RFC 1035, 2.3.4). */
const longestSlug = 63
const longestName = 200
const longestLabel = 1000
const hashLength = 8

const slugPattern = /^[a-z](?:[a-z0-9]|-(?=[a-z0-9]))*$/
const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** Names that mean something to PostgreSQL, to tenantctl's own command line, or to every web server. */
const reservedSlugs = ['all', 'default', 'postgres', 'public', 'registry', 'template0', 'template1', 'tenantctl', 'www']
const reservedDatabases =
  /^(?:postgres|template\d*|tenantctl|pg_.*|rdsadmin|cloudsqladmin|alloydbadmin|azure_maintenance|azure_sys|public|none)$/i

/** A tenant's name without white space around it. Throws `NAME_INVALID` for one that cannot be shown or stored. */
export function checkName(name: string): string {
  const trimmed = name.trim()
  // Zero-width characters alone cannot be seen either.
  if (/^[\p{Z}\p{Cf}]*$/u.test(trimmed)) throw nameInvalid('the name is empty')
  if ([...trimmed].length > longestName) throw nameInvalid(`the name is longer than ${longestName} characters`)
  if (/\p{Surrogate}/u.test(trimmed)) throw nameInvalid('the name is not valid Unicode (half of a surrogate pair)')
  if (/\p{Cc}|[\u2028\u2029]/u.test(trimmed)) throw nameInvalid('the name holds a control character')
  return trimmed
}

/**
 * The slug of a tenant's name: 'Ácme & Söhne GmbH' becomes `acme-and-sohne-gmbh`. A name that begins with a digit gets
 * `t-` in front (`3M`: `t-3m`), since a slug begins with a letter; one that is too long is cut and ends in a hash of
 * the whole name. Throws `NAME_INVALID` when nothing is left of the name, or a reserved word.
 */
export async function slugify(name: string, naming: Pick<NamingRules, 'prefix' | 'reserved'>): Promise<string> {
  const checked = checkName(name)
  const words = await toWords(checked)
  if (words === '') {
    throw nameInvalid(`no slug can be made of the name ${JSON.stringify(checked)}`, 'give one: --slug <slug>')
  }
  const slug = shorten(/^[a-z]/.test(words) ? words : `t-${words}`, checked, slugLimit(naming))
  refuseReserved(slug, naming)
  return slug
}

/** A slug that somebody chose: taken as it stands or refused with `NAME_INVALID`, never altered. */
export async function checkSlug(slug: string, naming: Pick<NamingRules, 'prefix' | 'reserved'>): Promise<string> {
  if (slugPattern.test(slug) && slug.length <= longestSlug) {
    refuseReserved(slug, naming)
    return slug
  }
  const rule = `at most ${longestSlug} of a-z, 0-9 and single dashes, beginning with a letter`
  const suggestion = await slugify(slug, naming).catch(() => undefined)
  throw nameInvalid(
    `${quote(slug)} is not a slug: expected ${rule}`,
    suggestion === undefined ? undefined : `perhaps: --slug ${suggestion}`,
  )
}

/**
 * Name of a tenant's database: prefix and slug with `_` for `-`, cut to 63 bytes with a hash of the slug at its end;
 * or what `naming.database` says. Throws `NAME_INVALID` for what that function must not return.
 */
export function databaseName(tenant: { slug: string; id: string; name: string }, naming: NamingRules): string {
  if (naming.database === undefined) {
    return checkDatabaseName(shorten(naming.prefix + tenant.slug, tenant.slug, longestIdentifier).replaceAll('-', '_'))
  }
  const name: unknown = naming.database(tenant)
  try {
    return checkDatabaseName(name as string)
  } catch (error) {
    if (!(error instanceof TenancyError)) throw error
    throw new TenancyError(error.code, `naming.database: ${error.message}`, {
      hint: 'change the function naming.database of the configuration',
      tenant: tenant.slug,
    })
  }
}

/** A database's name that somebody chose: taken as it stands or refused with `NAME_INVALID`, never cut. */
export function checkDatabaseName(name: string): string {
  if (typeof name !== 'string') throw nameInvalid(`the database name is not a text but ${typeof name}`)
  if (name === '') throw nameInvalid('the database name is empty')
  if (/\p{Surrogate}/u.test(name))
    throw nameInvalid('the database name is not valid Unicode (half of a surrogate pair)')
  if (/\p{Cc}/u.test(name)) throw nameInvalid('the database name holds a control character')
  if (name.trim() !== name) throw nameInvalid('the database name begins or ends with white space')
  const bytes = Buffer.byteLength(name)
  if (bytes > longestIdentifier) {
    throw nameInvalid(`the database name ${quote(name)} has ${bytes} bytes; PostgreSQL takes ${longestIdentifier}`)
  }
  if (reservedDatabases.test(name)) {
    throw nameInvalid(`the database name ${quote(name)} is reserved`, 'choose another: --database <name>')
  }
  return name
}

/** Labels as they were given. Throws `NAME_INVALID` for what cannot be shown, selected by or stored. */
export function checkLabels(labels: Readonly<Record<string, string>>): Record<string, string> {
  for (const [key, value] of Object.entries(labels)) {
    const label = `the label ${quote(key)}`
    if (typeof value !== 'string') throw nameInvalid(`${label} is not a text but ${typeof value}`)
    if (key.trim() === '' || key.includes('=')) throw nameInvalid(`${label} needs a name, which holds no "="`)
    if (key.length > longestIdentifier) throw nameInvalid(`${label} has a name longer than ${longestIdentifier}`)
    if (value.length > longestLabel) throw nameInvalid(`${label} has a value longer than ${longestLabel}`)
    if (/[\p{Cc}\p{Surrogate}\u2028\u2029]/u.test(key + value)) throw nameInvalid(`${label} holds a control character`)
  }
  return { ...labels }
}

/** Name of the role that owns what is in a tenant's database. */
export function roleName(database: string): string {
  return database
}

/** ASCII words of a name, lower case, joined by dashes; empty for a name of signs alone. */
async function toWords(name: string): Promise<string> {
  // NFKC takes mathematical letters, ligatures and full-width forms for the letters they stand for.
  const plain = name.replace(/[™®©℠]/g, '').normalize('NFKC')
  // Loading its tables takes longer than the rest of the command line's start.
  const latin = isAscii(plain) ? plain : (await import('transliteration')).transliterate(plain)
  const { default: exported } = await import('slugify')
  // A CommonJS module: loaders do not agree on what its default export is.
  const simov = exported.default ?? (exported as unknown as typeof exported.default)
  const spaced = latin
    .replace(/[’'`]/g, '')
    // Left to itself, slugify glues words that a sign parts (`a_b`: ab, `acme.com`: acmecom) and spells `|` and `<` out.
    .replace(/[&%]/g, ' $& ')
    .replace(/[^A-Za-z0-9&%]+/g, ' ')
  return simov(spaced, { lower: true, strict: true })
}

function isAscii(text: string): boolean {
  return Buffer.byteLength(text) === text.length
}

/** Cuts an ASCII name at `limit`; two names that are cut alike differ in the hash of what they come from. */
function shorten(text: string, whole: string, limit: number): string {
  if (text.length <= limit) return text
  const hash = createHash('sha256').update(whole).digest('hex').slice(0, hashLength)
  return `${text.slice(0, limit - hashLength - 1).replace(/-+$/, '')}-${hash}`
}

/** So long that prefix and slug still fit a database's name uncut. */
function slugLimit({ prefix }: { prefix: string }): number {
  return Math.min(longestSlug, longestIdentifier - prefix.length)
}

function refuseReserved(slug: string, { reserved }: { reserved: string[] }): void {
  // A tenant is named by slug or id on the command line: a slug that reads as an id would hide another tenant.
  if (uuidPattern.test(slug))
    throw nameInvalid(`the slug ${quote(slug)} reads as an id`, 'choose another: --slug <slug>')
  if (reservedSlugs.includes(slug) || reserved.includes(slug)) {
    throw nameInvalid(`the slug ${quote(slug)} is reserved`, 'choose another: --slug <slug>')
  }
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
}

function nameInvalid(message: string, hint?: string): TenancyError {
  return new TenancyError('NAME_INVALID', message, { hint })
}
