/** What middleware needs of a tenancy; `createTenancy` makes one. */
export interface TenancyLike {
  /** Runs `work` in the context of a tenant, or throws why there is none. */
  run<T>(slugOrId: string, work: () => T | Promise<T>): Promise<T>
  domains: {
    /** Id of the tenant that a custom domain belongs to. */
    resolve(host: string): Promise<string | undefined>
  }
}

/** What middleware needs of a request: node's own, or one that is built on it. */
export interface RequestLike {
  url?: string | undefined
  headers: Record<string, string | string[] | undefined>
  rawHeaders?: readonly string[] | undefined
}
