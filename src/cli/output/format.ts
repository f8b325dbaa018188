export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)}ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)}s`
  const seconds = Math.round(ms / 1000)
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${String(seconds % 60).padStart(2, '0')}s`
  return `${Math.floor(seconds / 3600)}h${String(Math.floor((seconds % 3600) / 60)).padStart(2, '0')}m`
}

/** Of a time to come, which is not known to the millisecond: `8s`, `2m18s`. */
export function formatEstimate(ms: number): string {
  return ms < 59_500 ? `${Math.ceil(ms / 1000)}s` : formatDuration(ms)
}

/** As `pg_size_pretty` counts: 1 kB is 1024 bytes. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** `2026-01-05 10:00:00Z`: shorter than ISO, and still says that it is UTC. */
export function formatTime(iso: string): string {
  return iso.replace('T', ' ').replace(/(\.\d+)?(Z|\+00:00)$/, 'Z')
}

/** `1 tenant`, `2 tenants`. */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
