import generator from 'generate-password'
import { Secret } from './secret.ts'

/** 32 letters and digits, about 190 bits, safe in a URL and a pgpass file. */
export function generatePassword(): Secret {
  return new Secret(generator.generate({ length: 32, numbers: true, lowercase: true, uppercase: true, strict: true }))
}
