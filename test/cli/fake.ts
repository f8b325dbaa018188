import { Readable, Writable } from 'node:stream'
import type { CliIo, Library, SignalName } from '../../src/cli/io.ts'
import { main } from '../../src/cli/main.ts'
import { type ErrorCode, type ErrorFacts, TenancyError } from '../../src/errors.ts'
import type { FleetResult, TenantOutcome } from '../../src/fleet/result.ts'
import type { Operation } from '../../src/registry/operation.ts'
import type { Tenant } from '../../src/registry/tenant.ts'
import { Secret } from '../../src/secrets/secret.ts'

/** Runs the command line in this process, on buffers; no terminal unless asked for. */
export async function runCli(
  args: readonly string[],
  options: {
    tenancy?: object
    library?: object
    env?: Record<string, string>
    stdin?: string
    tty?: boolean
    /** Of the terminal. */
    columns?: number
    cwd?: string
    onStart?: (send: (signal: SignalName) => void) => void
  } = {},
): Promise<{ stdout: string; stderr: string; exitCode: number; ended: number[] }> {
  const { tty, columns } = options
  const [stdout, stderr] = [new Buffered(tty, columns), new Buffered(tty, columns)]
  const listeners = new Map<SignalName, Set<(signal: SignalName) => void>>()
  const of = (signal: SignalName) => listeners.get(signal) ?? listeners.set(signal, new Set()).get(signal)
  const ended: number[] = []
  const io: CliIo = {
    stdin: Object.assign(Readable.from([options.stdin ?? '']), { isTTY: options.tty ?? false }),
    stdout,
    stderr,
    env: options.env ?? {},
    cwd: options.cwd ?? '/nowhere',
    signals: {
      on: (signal, listener) => of(signal)?.add(listener),
      off: (signal, listener) => of(signal)?.delete(listener),
    },
    terminate: code => ended.push(code),
    library: async () => fakeLibrary(options.tenancy ?? {}, options.library ?? {}),
  }
  options.onStart?.(signal => {
    for (const listener of of(signal) ?? []) listener(signal)
  })
  const exitCode = await main(args, io)
  return { stdout: stdout.text, stderr: stderr.text, exitCode, ended }
}

class Buffered extends Writable {
  text = ''
  readonly isTTY: boolean
  declare readonly columns?: number
  constructor(isTTY = false, columns?: number) {
    super()
    this.isTTY = isTTY
    if (columns !== undefined) this.columns = columns
  }
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString()
    done()
  }
}

function fakeLibrary(tenancy: object, library: object): Library {
  return {
    resolveConfig: async () => ({ config: {}, settings: [], file: null }),
    effectiveSettings: async () => ({ settings: [], file: null }),
    createTenancy: () => ({ close: async () => {}, ...tenancy }),
    generateEncryptionKey: () => 'a2V5',
    ...library,
  } as unknown as Library
}

export function tenant(slug: string, more: Partial<Tenant> = {}): Tenant {
  return {
    id: `0197a000-0000-7000-8000-${slug.padEnd(12, '0').slice(0, 12)}`,
    slug,
    name: slug.charAt(0).toUpperCase() + slug.slice(1),
    status: 'active',
    server: 'default',
    database: `tenant_${slug}`,
    username: `tenant_${slug}`,
    schemaVersion: '20260103_add_labels',
    labels: {},
    roles: 'single',
    protected: false,
    createdAt: '2026-01-05T10:00:00.000Z',
    updatedAt: '2026-01-05T10:00:00.000Z',
    ...more,
  }
}

export function fleet(command: FleetResult['command'], tenants: TenantOutcome[]): FleetResult {
  const count = (...statuses: string[]) => tenants.filter(outcome => statuses.includes(outcome.status)).length
  const [upToDate, failed, skipped] = [count('up_to_date'), count('failed'), count('skipped')]
  const succeeded = tenants.length - upToDate - failed - skipped
  return { command, total: tenants.length, succeeded, upToDate, failed, skipped, durationMs: 1234, tenants }
}

export function operation(more: Partial<Operation> = {}): Operation {
  return {
    id: '0197a000-0000-7000-8000-00000000aaaa',
    kind: 'create',
    tenant: 'acme',
    tenantId: tenant('acme').id,
    status: 'succeeded',
    actor: 'ada@laptop',
    pid: 4711,
    startedAt: '2026-01-05T10:00:00.000Z',
    finishedAt: '2026-01-05T10:00:00.800Z',
    error: null,
    steps: [],
    ...more,
  }
}

export function refuse(code: ErrorCode, message: string, facts: ErrorFacts = {}): () => Promise<never> {
  return async () => {
    throw new TenancyError(code, message, facts)
  }
}

export const secretUrl = new Secret('postgresql://tenant_acme:hunter2@localhost:5432/tenant_acme')
