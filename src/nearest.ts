/** The candidates that a mistyped word may have meant, nearest first; none when nothing is near. */
export function nearest(word: string, candidates: Iterable<string>, limit = 1): string[] {
  const wanted = word.toLowerCase()
  const farthest = Math.max(1, Math.floor(wanted.length / 3))
  const near: { candidate: string; distance: number }[] = []
  for (const candidate of candidates) {
    const other = candidate.toLowerCase()
    // Half a word is meant as its beginning: `acme` for `acme-and-sohne-gmbh`.
    const begun = wanted.length >= 3 && other.startsWith(wanted)
    const distance = begun ? farthest : editDistance(wanted, other, farthest)
    if (distance <= farthest) near.push({ candidate, distance })
  }
  near.sort((a, b) => a.distance - b.distance || a.candidate.length - b.candidate.length)
  return near.slice(0, limit).map(({ candidate }) => candidate)
}

/** Letters to insert, delete, replace or swap with their neighbour (optimal string alignment); any figure above `limit` stands for "too many". */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) > limit) return limit + 1
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1]
      let cost = Math.min(at(last, column) + 1, at(current, column - 1) + 1, at(last, column - 1) + (same ? 0 : 1))
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]
      if (swapped) cost = Math.min(cost, at(beforeLast, column - 2) + 1)
      current.push(cost)
    }
    if (Math.min(...current) > limit) return limit + 1
    beforeLast = last
    last = current
  }
  return at(last, b.length)
}

function at(row: number[], column: number): number {
  return row[column] ?? Number.POSITIVE_INFINITY
}
