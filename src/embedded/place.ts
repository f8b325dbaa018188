import { createHash, randomBytes } from 'node:crypto'
import { chmod, lstat, mkdir, readdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { TenancyError } from '../errors.ts'
import { type Account, run } from './account.ts'
import { readRecord, type ServerRecord } from './directory.ts'
import { missing } from './failure.ts'
import { readPlainFile } from './process.ts'

const root = '/var/lib/tenantctl'

/** Where data and log go when the server's user cannot enter the `.tenantctl` folder. One for each folder. */
function outsidePlace(directory: string): string {
  return join(root, createHash('sha256').update(directory).digest('hex').slice(0, 16))
}

/** Chooses where data and log of a new server go: in the folder itself if the server's user can get there. */
export async function choosePlace(directory: string, account: Account): Promise<string> {
  if (account === null) return directory
  const entered = await run('/bin/sh', ['-c', 'cd "$1"', 'sh', directory], account)
  return entered.exitCode === 0 ? directory : await makeOutside(directory)
}

/** Where data and log of this folder's server are; null when it has none, or only a copy of another folder's record. */
export async function recordedPlace(directory: string, record: ServerRecord | null): Promise<string | null> {
  if (record === null || record.outside === null) return directory
  if (dirname(record.outside) !== root) return null
  const owner = await outsideOwner(record.outside)
  if (owner === null) return null
  if (owner === directory) return record.outside
  // Renamed, if the old name does not lead to the place any more; else we are a copy, with a server still to be made.
  const other = await readRecord(owner).catch(() => null)
  return other?.outside === record.outside ? null : record.outside
}

/** Places outside that were made for this folder, its record being lost perhaps: nothing else there may be deleted. */
export async function placesOutside(directory: string): Promise<string[]> {
  const places = ((await readdir(root).catch(missing)) ?? []).map(name => join(root, name))
  const owners = await Promise.all(places.map(outsideOwner))
  return places.filter((_, index) => owners[index] === directory)
}

/** Writes down whose the place is; a renamed folder takes it with it. */
export async function claimOutside(place: string, directory: string): Promise<void> {
  if ((await outsideOwner(place)) !== directory) await writeFile(join(place, 'owner'), directory, { mode: 0o600 })
}

async function outsideOwner(place: string): Promise<string | null> {
  return readPlainFile(join(place, 'owner'))
}

async function makeOutside(directory: string): Promise<string> {
  await mkdir(root, { recursive: true, mode: 0o755 })
  const entry = await lstat(root)
  if (!entry.isDirectory() || entry.uid !== 0 || (entry.mode & 0o022) !== 0) {
    throw new TenancyError('EMBEDDED_FAILED', `${root} is not a folder that root alone can write to`, {
      hint: `chown root ${root} && chmod 755 ${root}`,
    })
  }
  await chmod(root, 0o755)
  const usual = outsidePlace(directory)
  const owner = await outsideOwner(usual)
  // made for a folder of our name that was renamed since
  const place = owner === null || owner === directory ? usual : `${usual}-${randomBytes(4).toString('hex')}`
  await mkdir(place, { recursive: true })
  await chmod(place, 0o711)
  await claimOutside(place, directory)
  return place
}
