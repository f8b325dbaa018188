/** Reads the addresses of databases from stdin and runs `work` for each, so many at a time. */
import { text } from 'node:stream/consumers'

export async function eachDatabase(concurrency, work) {
  const urls = (await text(process.stdin)).trim().split('\n')[Symbol.iterator]()
  const worker = async () => {
    for (const url of urls) await work(url)
  }
  await Promise.all(Array.from({ length: Number(concurrency) }, worker))
}
