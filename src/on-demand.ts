/** Nothing but asynchronous methods. */
type Asynchronous<Api> = {
  [Name in keyof Api]: Api[Name] extends (...args: never[]) => Promise<unknown> ? Api[Name] : never
}

/**
 * An API whose code is loaded by the first call of one of its methods, all of which are asynchronous: a program that only
 * lists tenants does not wait for what migrates them.
 */
export function onDemand<Api extends object & Asynchronous<Api>>(load: () => Promise<Api>): Api {
  let loading: Promise<Api> | undefined
  const methods = new Map<string | symbol, unknown>()
  const method =
    (name: keyof Api) =>
    async (...args: unknown[]) => {
      loading ??= load()
      const api = await loading
      return (api[name] as (...args: unknown[]) => unknown).apply(api, args)
    }
  return new Proxy({} as Api, {
    get(_, name) {
      // Whoever awaits it, or prints it, is not to take it for a promise or call what it has not.
      if (typeof name === 'symbol' || name === 'then' || name === 'toJSON') return undefined
      if (!methods.has(name)) methods.set(name, method(name as keyof Api))
      return methods.get(name)
    },
  })
}
