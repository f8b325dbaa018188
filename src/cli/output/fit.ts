const longestBar = 24
const shortestBar = 6

interface Part {
  text: string
  /** Where there is too little room, parts go from the least needed on. */
  needed: number
}

/** A title, a bar where a width leaves room for one, and parts; without a width all of them and no bar. */
export function fitLine(title: string, parts: readonly Part[], options: { share: number; width: number | undefined }) {
  const { share, width = Number.POSITIVE_INFINITY } = options
  let shown = parts
  const text = () => `${title} ${shown.map(part => part.text).join(' · ')}`
  while (text().length > width && shown.length > 1) {
    const least = shown.reduce((a, b) => (b.needed < a.needed ? b : a))
    shown = shown.filter(part => part !== least)
  }
  const room = Math.min(longestBar, width - text().length - 1)
  if (options.width === undefined || room < shortestBar) return text()
  return `${title} ${bar(share, room)}${text().slice(title.length)}`
}

/** As many of the names as there is room for, how many there are beside them, and an end that stays. */
export function fitNames(
  names: readonly string[],
  total: number,
  end: string,
  width = Number.POSITIVE_INFINITY,
): string {
  for (let count = names.length; count > 0; count -= 1) {
    const more = total > count ? [`and ${total - count} more`] : []
    const text = [[...names.slice(0, count), ...more].join(', '), end].filter(part => part !== '').join(' · ')
    if (text.length <= width || count === 1) return text
  }
  return end
}

function bar(share: number, width: number): string {
  const full = Math.round(share * width)
  return '━'.repeat(full) + '─'.repeat(width - full)
}
