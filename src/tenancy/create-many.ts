import type { ResolvedConfig } from '../config/config.ts'
import { asTenancyError, TenancyError } from '../errors.ts'
import type { FleetResult } from '../fleet/result.ts'
import { type CreateInput, createTenant, nameTenant } from '../provisioning/create.ts'
import { defaultServer } from '../registry/servers.ts'
import { type FleetOptions, runOverTenants } from './fleet.ts'
import type { LazyParts } from './parts.ts'

/** Why one of many tenants cannot be made. */
export interface InputProblem {
  /** Which input, counted from 0. */
  index: number
  message: string
  /** The earlier input that leads to the same slug, when that is why. */
  duplicateOf?: number
}

/** What can be refused without asking a server: names, slugs, labels, servers, and two inputs with one slug. */
export async function checkInputs(
  config: Pick<ResolvedConfig, 'naming' | 'servers'>,
  inputs: readonly CreateInput[],
): Promise<{ slugs: (string | undefined)[]; problems: InputProblem[] }> {
  const problems: InputProblem[] = []
  const first = new Map<string, number>()
  const slugs: (string | undefined)[] = []
  for (const [index, input] of inputs.entries()) {
    const { server = defaultServer } = input
    if (server !== defaultServer && !Object.hasOwn(config.servers, server)) {
      problems.push({ index, message: `no server "${server}" is configured` })
    }
    const slug = await nameTenant(config.naming, input).then(
      named => named.slug,
      error => void problems.push({ index, message: asTenancyError(error).message }),
    )
    slugs.push(slug)
    const duplicateOf = slug === undefined ? undefined : first.get(slug)
    if (duplicateOf !== undefined)
      problems.push({ index, message: `the slug "${slug}" is that of an earlier one`, duplicateOf })
    else if (slug !== undefined) first.set(slug, index)
  }
  return { slugs, problems }
}

export async function createMany(
  lazy: LazyParts,
  inputs: readonly CreateInput[],
  options: FleetOptions,
): Promise<FleetResult> {
  const { slugs, problems } = await checkInputs(lazy.config, inputs)
  if (problems.length > 0) {
    const lines = problems.map(({ index, message }) => `input ${index}: ${message}`)
    throw new TenancyError('INPUT_INVALID', ['some tenants cannot be made', ...lines].join('\n'), {
      hint: 'nothing was made',
    })
  }
  const parts = await lazy.get()
  const { onEvent = parts.config.onEvent } = options
  const named = inputs.map((input, index) => ({ ...input, slug: slugs[index] }))
  return runOverTenants(parts, 'create', named, options, async (input, { signal, run }) => {
    const tenant = await createTenant(parts, input, { signal, run, onEvent })
    return { status: tenant.created ? 'created' : 'up_to_date', to: tenant.schemaVersion }
  })
}
