import { inspect } from 'node:util'

const mask = '***'

/** A password or key that prints, inspects and serialises as `***`. Only `reveal()` gives it away. */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
  }

  /** The value itself: mind where it goes. */
  reveal(): string {
    return this.#value
  }

  /** Whether both hold the same value. */
  equals(other: Secret): boolean {
    return this.#value === other.#value
  }

  /** `***`. */
  toString(): string {
    return mask
  }

  /** `***`. */
  toJSON(): string {
    return mask
  }

  /** `***`, for console.log and debuggers. */
  [inspect.custom](): string {
    return mask
  }
}
