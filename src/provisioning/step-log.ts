import type { OperationStep } from '../registry/operation.ts'
import type { OperationJournal, StepRecord } from '../registry/operation-journal.ts'

/**
 * The journal of one operation's steps. What begins is committed before it is done; what has ended is written down
 * together with what begins next, so that each step costs one commit.
 */
export class StepLog {
  #pending: StepRecord[] = []

  constructor(
    private readonly journal: OperationJournal,
    readonly operationId: string,
    /** Records that are in the journal already. */
    private readonly written: readonly StepRecord[] = [],
  ) {}

  /** Returns when it stands in the journal that the step is about to be done, and `detail` with it. */
  async begin(position: number, name: string, detail?: object): Promise<void> {
    if (detail === undefined && this.#isWritten(position, 'started')) return
    await this.#write({ position, name, status: 'started', detail })
  }

  /** Is written with the next record, or with the end of the steps. */
  end(position: number, name: string, status: OperationStep['status']): void {
    if (!this.#isWritten(position, status)) this.#pending.push({ position, name, status })
  }

  async fail(position: number, name: string): Promise<void> {
    await this.#write({ position, name, status: 'failed' })
  }

  async flush(): Promise<void> {
    if (this.#pending.length > 0) await this.#write()
  }

  /** For a transaction of the registry that is a step by itself, and writes down in it that it is done. */
  async writeWith<T>(position: number, name: string, write: (records: StepRecord[]) => Promise<T>): Promise<T> {
    const result = await write([...this.#pending, { position, name, status: 'done' }])
    this.#pending = []
    return result
  }

  async #write(record?: StepRecord): Promise<void> {
    await this.journal.record(this.operationId, record ? [...this.#pending, record] : this.#pending)
    this.#pending = []
  }

  #isWritten(position: number, status: OperationStep['status']): boolean {
    return this.written.some(each => each.position === position && each.status === status)
  }
}
