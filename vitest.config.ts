import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Begun first: what is short fills the workers' time to the end. */
const longest = [
  /\/(sweeps|repair|crash|template|doctor|template-crash)\.test\.ts$/,
  /\/test\/(attacks|context|doctor|dumps|embedded|faults|lifecycle|provisioning|queue)\//,
]

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const found = longest.findIndex(pattern => pattern.test(moduleId))
      return found === -1 ? longest.length : found
    }
    return (await super.sort(files)).sort((one, other) => rank(one) - rank(other))
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    // A worker's files share what they load. Each has a corner of the server, and databases, of its own.
    isolate: false,
    sequence: { sequencer: LongestFirst },
    // Most tests wait for the server or a process, so a few workers more than there are cores keep all of them busy.
    maxWorkers: availableParallelism() + 2,
    // A busy machine is no failure: there, what depends on the clock gets more of it and another try.
    testTimeout: process.env.CI ? 90_000 : 30_000,
    hookTimeout: process.env.CI ? 120_000 : 60_000,
    retry: process.env.CI ? 2 : 0,
    teardownTimeout: 30_000,
    coverage: { provider: 'v8', include: ['src/**/*.ts'], reporter: ['text-summary', 'html'] },
  },
})
