import { AsyncLocalStorage } from 'node:async_hooks'
import { throwIfAborted } from './errors.ts'

/** Lets so many run at a time, the others in the order in which they came. */
export class Turns {
  #running = 0
  readonly #waiting = new Set<() => void>()

  /** `limit` is asked anew each time that somebody comes or goes. */
  constructor(private readonly limit: () => number) {}

  /** Throws `ABORTED` when the signal fires before it is its turn. */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    throwIfAborted(signal)
    await new Promise<void>((resolve, reject) => {
      const begin = () => {
        signal?.removeEventListener('abort', leave)
        resolve()
      }
      const leave = () => {
        this.#waiting.delete(begin)
        reject(signal?.reason)
      }
      signal?.addEventListener('abort', leave, { once: true })
      this.#waiting.add(begin)
      this.admit()
    }).catch(() => throwIfAborted(signal))
    try {
      return await work()
    } finally {
      this.#running -= 1
      this.admit()
    }
  }

  /** Lets those begin whose turn it is, also because the limit was raised. */
  admit(): void {
    for (const begin of this.#waiting) {
      if (this.#running >= this.limit()) return
      this.#waiting.delete(begin)
      this.#running += 1
      begin()
    }
  }
}

/**
 * Where those have their turn who began what runs now. One for all: before Node.js 24 each that was ever used makes every
 * promise of the process slower, for good.
 */
const inside = new AsyncLocalStorage<readonly Turns[]>()

/** On one server at once, unless somebody is allowed more. */
const usualLimit = 8

/**
 * Turns at each server, by whatever names it. Whoever signs up a hundred customers at the same moment must not take the
 * connections of all others for it, and with more than a few CREATE DATABASE none is done any sooner.
 */
export class ServerTurns<Server> {
  readonly #servers = new Map<Server, Turns>()
  readonly #allowed: number[] = []

  /** As `Turns.run`. What `work` asks for itself, in a hook perhaps, is part of its turn: it would wait for its own end. */
  run<T>(server: Server, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    let turns = this.#servers.get(server)
    if (!turns) {
      turns = new Turns(() => Math.max(usualLimit, ...this.#allowed))
      this.#servers.set(server, turns)
    }
    const own = turns
    const outer = inside.getStore() ?? []
    if (outer.includes(own)) return work()
    return own.run(() => inside.run([...outer, own], work), signal)
  }

  /** Lets so many run at once on each server, until what is returned is called: for a run that limits itself. */
  allow(atOnce: number): () => void {
    this.#allowed.push(atOnce)
    for (const turns of this.#servers.values()) turns.admit()
    return () => void this.#allowed.splice(this.#allowed.indexOf(atOnce), 1)
  }
}
