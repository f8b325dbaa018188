import { expect, it } from 'vitest'
import { nearest } from '../../src/nearest.ts'

const slugs = ['acme', 'acme-inc', 'acmee', 'globex', 'initech', 'umbrella']

it.each([
  ['acme', ['acme', 'acmee', 'acme-inc']],
  ['amce', ['acme']],
  ['Globx', ['globex']],
  ['intiech', ['initech']],
  ['umb', ['umbrella']],
  ['zzz', []],
  ['', []],
])('%j is near %j', (word, expected) => {
  expect(nearest(word, slugs, 3)).toEqual(expected)
})

it('gives one unless more are asked for', () => {
  expect(nearest('acm', slugs)).toEqual(['acme'])
})
