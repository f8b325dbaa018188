/** The life of tenants as the contract has it, in memory: nothing but what a user is told. */
import type { Tenancy } from '../../src/index.ts'
import { isTenancyError } from '../../src/index.ts'
import { single } from './sweep.ts'

export interface ModelTenant {
  status: 'active' | 'suspended'
  protected: boolean
}

export interface Model {
  live: Map<string, ModelTenant>
  /** Dropped tenants that are kept, by slug, the status that they had. */
  kept: Map<string, ModelTenant['status'][]>
}

/** What a user types; each says what the model makes of it: an error's code, or undefined when it is done. */
export interface Action {
  name: string
  run(tenancy: Tenancy, slug: string): Promise<unknown>
  model(model: Model, slug: string): string | undefined
}

export const actions: Action[] = [
  {
    name: 'create',
    run: (tenancy, slug) => tenancy.tenants.create({ name: slug }),
    model({ live }, slug) {
      const found = live.get(slug)
      if (found) return found.status === 'active' ? 'TENANT_EXISTS' : 'TENANT_SUSPENDED'
      live.set(slug, { status: 'active', protected: false })
      return undefined
    },
  },
  { name: 'drop', run: drop(false), model: (model, slug) => remove(model, slug)?.code },
  {
    name: 'retain',
    run: drop('1 day'),
    model(model, slug) {
      const removed = remove(model, slug)
      if (removed?.code) return removed.code
      model.kept.set(slug, [...(model.kept.get(slug) ?? []), removed?.status ?? 'active'])
      return undefined
    },
  },
  {
    name: 'undrop',
    run: (tenancy, slug) => tenancy.tenants.undrop(slug),
    model({ live, kept }, slug) {
      const [status, another] = kept.get(slug) ?? []
      if (another) return 'TENANT_AMBIGUOUS'
      if (live.has(slug)) return 'TENANT_EXISTS'
      if (!status) return 'TENANT_NOT_FOUND'
      kept.delete(slug)
      live.set(slug, { status, protected: false })
      return undefined
    },
  },
  {
    name: 'suspend',
    run: (tenancy, slug) => single(tenancy.tenants.suspend({ tenants: [slug] })),
    model: change(tenant => {
      tenant.status = 'suspended'
    }),
  },
  {
    name: 'resume',
    run: (tenancy, slug) => single(tenancy.tenants.resume({ tenants: [slug] })),
    model: change(tenant => {
      tenant.status = 'active'
    }),
  },
  {
    name: 'protect',
    run: (tenancy, slug) => single(tenancy.tenants.protect({ tenants: [slug] })),
    model: change(tenant => {
      tenant.protected = true
    }),
  },
  {
    name: 'unprotect',
    run: (tenancy, slug) => single(tenancy.tenants.unprotect({ tenants: [slug] })),
    model: change(tenant => {
      tenant.protected = false
    }),
  },
  {
    name: 'migrate',
    run: (tenancy, slug) => single(tenancy.migrations.run({ tenants: [slug] }, { verify: true })),
    model: change(({ status }) => (status === 'suspended' ? 'TENANT_SUSPENDED' : undefined)),
  },
  {
    name: 'rotate',
    run: (tenancy, slug) => single(tenancy.tenants.rotatePassword({ tenants: [slug] })),
    model: change(() => undefined),
  },
]

export function copyOf({ live, kept }: Model): Model {
  return {
    live: new Map([...live].map(([slug, tenant]) => [slug, { ...tenant }])),
    kept: new Map([...kept].map(([slug, list]) => [slug, [...list]])),
  }
}

/** The code of the error that came of it; undefined when it was done. */
export async function outcomeOf(running: Promise<unknown>): Promise<string | undefined> {
  try {
    await running
    return undefined
  } catch (error) {
    if (isTenancyError(error)) return error.code
    throw error
  }
}

/** The tenants of the registry as the model would have them. */
export async function read(tenancy: Tenancy): Promise<Model> {
  const live = (await tenancy.tenants.list()).map(
    ({ slug, status, protected: on }) => [slug, { status, protected: on } as ModelTenant] as const,
  )
  const kept: Model['kept'] = new Map()
  for (const { slug, formerStatus } of (await tenancy.tenants.retained()).toReversed()) {
    kept.set(slug, [...(kept.get(slug) ?? []), formerStatus as ModelTenant['status']])
  }
  return { live: new Map(live), kept }
}

function drop(retain: string | false): Action['run'] {
  return (tenancy, slug) => single(tenancy.tenants.drop({ tenants: [slug] }, { retain, force: true }))
}

function remove({ live }: Model, slug: string): { code?: string; status?: ModelTenant['status'] } | undefined {
  const found = live.get(slug)
  if (!found) return { code: 'TENANT_NOT_FOUND' }
  if (found.protected) return { code: 'TENANT_PROTECTED' }
  live.delete(slug)
  return { status: found.status }
}

/** `work` gives the code of an error where it refuses. */
function change(work: (tenant: ModelTenant) => unknown): Action['model'] {
  return ({ live }, slug) => {
    const found = live.get(slug)
    const refusal = found ? work(found) : 'TENANT_NOT_FOUND'
    return typeof refusal === 'string' ? refusal : undefined
  }
}
