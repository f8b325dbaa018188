/** Databases are files by the hundred, made and deleted: in memory that costs a third of what it does on a disk. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { freemem } from 'node:os'
import { join } from 'node:path'

/** A run on two cores uses less than a third of it. */
const enough = 3 * 1024 ** 3

/** A file system in memory that has room for a run; undefined where there is none. */
export function memoryFolder(): string | undefined {
  const folder = '/dev/shm'
  try {
    const { bavail, bsize } = statfsSync(folder)
    // 0: the container, if it is one, has no limit.
    const limit = process.constrainedMemory() || Number.POSITIVE_INFINITY
    return Math.min(bavail * bsize, freemem(), limit) > enough && runsPrograms(folder) ? folder : undefined
  } catch {
    return undefined
  }
}

/** Binaries of servers are copied into temporary folders, too. */
function runsPrograms(folder: string): boolean {
  const directory = mkdtempSync(join(folder, 'tenantctl-'))
  try {
    writeFileSync(join(directory, 'program'), '#!/bin/sh\n', { mode: 0o700 })
    execFileSync(join(directory, 'program'))
    return true
  } catch {
    return false
  } finally {
    rmSync(directory, { recursive: true })
  }
}
