/** SQL that records the files of migrations, for parameters that hold names and checksums. */
export function recordChecksumsText(names: string, checksums: string, options: { replace?: boolean } = {}): string {
  return `INSERT INTO tenantctl.migrations (name, checksum)
       SELECT * FROM unnest(${names}::text[], ${checksums}::text[])
       ON CONFLICT (name) ${options.replace ? 'DO UPDATE SET checksum = EXCLUDED.checksum' : 'DO NOTHING'}`
}
