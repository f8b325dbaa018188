/** Lives of a program that end, or lose a connection, at a chosen statement. Nothing in the product knows of it. */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import pg from 'pg'

/**
 * `before`, `sent`, `after`: the program dies before it sends the statement, when it has sent it, or when the answer has
 * come and it has not looked at it yet. `cut`, `lost`: the program lives, but the connection is gone before the
 * statement, or after the server has carried it out: the program cannot tell these two apart.
 */
export type Moment = 'before' | 'sent' | 'after' | 'cut' | 'lost'

export const deaths: Moment[] = ['before', 'sent', 'after']
export const losses: Moment[] = ['cut', 'lost']

export interface Fault {
  /** Number of the statement, over all connections, from 1; or a part of its text. */
  at: number | string
  moment: Moment
}

/** pg's own connection, as far as it is needed here; every statement goes through it, whoever sends it. */
interface Connection extends EventEmitter {
  stream: Socket
  connect(...args: unknown[]): void
  /** Simple protocol: the whole statement. */
  query(text: string): void
  /** Extended protocol: the first message of a statement, and the last. */
  parse(message: { text: string }): void
  sync(): void
}

export class Life {
  /** Statements that were sent. */
  sent = 0
  /** The statement that the fault has met. */
  struck: string | undefined
  readonly #connections = new Set<Connection>()
  readonly #running = new WeakMap<Connection, { number: number; text: string }>()
  #dead = false

  /** Without a fault, statements are counted alone. `die` must not return to the program. */
  constructor(
    private readonly fault: Fault | undefined,
    private readonly die: (life: Life) => void,
  ) {}

  /** Returns false when the program is dead. */
  connects(connection: Connection): boolean {
    this.#connections.add(connection)
    return !this.#dead
  }

  /** A statement is about to be sent; returns false when it must not be. */
  sends(connection: Connection, text: string): boolean {
    if (this.#dead) return false
    this.sent += 1
    this.#running.set(connection, { number: this.sent, text })
    if (this.#strikes(connection, 'before')) this.#end()
    if (this.#strikes(connection, 'cut')) connection.stream.destroy()
    return !this.#dead
  }

  /** The whole of it has been handed to the socket, which is corked until the end of this turn. */
  hasSent(connection: Connection): void {
    if (this.#strikes(connection, 'sent')) process.nextTick(() => this.#end())
  }

  /** Something has come in; returns false when the program must not hear of it. */
  hears(connection: Connection, event: string | symbol): boolean {
    if (this.#dead) return false
    if (event !== 'readyForQuery') return true
    if (this.#strikes(connection, 'after')) this.#end()
    const lost = this.#strikes(connection, 'lost')
    if (lost) connection.stream.destroy()
    this.#running.delete(connection)
    return !this.#dead && !lost
  }

  #strikes(connection: Connection, moment: Moment): boolean {
    const running = this.#running.get(connection)
    if (this.fault?.moment !== moment || running === undefined) return false
    const { at } = this.fault
    if (typeof at === 'number' ? running.number !== at : !running.text.includes(at)) return false
    this.struck ??= running.text
    return true
  }

  #end(): void {
    this.#dead = true
    this.die(this)
    // To the server it is the same whether a kernel closes a killed process's sockets or we do.
    for (const connection of this.#connections) connection.stream.destroy()
  }
}

const lives = new AsyncLocalStorage<Life>()
let ownLife: Life | undefined
const lifeOf = new WeakMap<object, Life>()

const { prototype } = (pg as unknown as { Connection: { prototype: Connection } }).Connection
const { connect, query, parse, sync, emit } = prototype

prototype.connect = function (this: Connection, ...args) {
  const life = lives.getStore() ?? ownLife
  if (life) lifeOf.set(this, life)
  if (!life || life.connects(this)) connect.apply(this, args)
  // pg's timer is wound up already: nobody is left to be told that it has run out.
  else this.stream.on('error', () => undefined)
}
prototype.query = function (this: Connection, text) {
  const life = lifeOf.get(this)
  if (life && !life.sends(this, text)) return
  query.call(this, text)
  life?.hasSent(this)
}
prototype.parse = function (this: Connection, message) {
  const life = lifeOf.get(this)
  if (!life || life.sends(this, message.text)) parse.call(this, message)
}
prototype.sync = function (this: Connection) {
  sync.call(this)
  lifeOf.get(this)?.hasSent(this)
}
prototype.emit = function (this: Connection, event, ...args) {
  const life = lifeOf.get(this)
  return life && !life.hears(this, event) ? true : emit.call(this, event, ...args)
}

export type Ending<T> =
  /** It died: what it was about to do after that it never did. */
  | { kind: 'died'; statement: string; sent: number }
  | { kind: 'returned'; value: T; statement: string | undefined; sent: number }
  | { kind: 'threw'; error: unknown; statement: string | undefined; sent: number }

/**
 * Runs `work` as a program of its own, up to its fault. One that dies stays where it is for ever: none of its `catch`
 * and `finally` runs, none of its statements is sent any more. Give it its own `Tenancy`.
 */
export async function live<T>(fault: Fault | undefined, work: () => Promise<T>): Promise<Ending<T>> {
  return new Promise(resolve => {
    const life: Life = new Life(fault, ({ sent, struck }) => resolve({ kind: 'died', statement: struck ?? '', sent }))
    const told = () => ({ statement: life.struck, sent: life.sent })
    lives.run(life, () => {
      work().then(
        value => resolve({ kind: 'returned', value, ...told() }),
        error => resolve({ kind: 'threw', error, ...told() }),
      )
    })
  })
}

/** Makes this whole process one life; its death is a SIGKILL. */
export function liveAsProcess(fault: Fault | undefined): Life {
  ownLife = new Life(fault, () => process.kill(process.pid, 'SIGKILL'))
  return ownLife
}
