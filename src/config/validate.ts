import type { ValidConfig } from './config.ts'

export interface ConfigBase {
  /** Absolute folder that relative paths are meant from. */
  directory: string
  /** How messages call the configuration: a file's name. */
  place: string
}

export function validateConfig(_input: unknown, _base: ConfigBase): ValidConfig {
  throw new Error('to be written')
}
