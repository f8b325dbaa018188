// C0, DEL and C1 controls, and the marks that turn the direction of what follows: a tenant's name or a server's
// message must not be able to move the cursor, set the window's title or make a line read as another.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this is about
const unsafe = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

// JSON.stringify has escaped C0 itself; the line breaks that are left are those of its layout.
const unsafeInJson = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** Text of one line that came from data or from a server, safe to print. */
export function clean(text: unknown): string {
  return String(text).replace(unsafe, character => {
    if (character === '\n') return '\\n'
    if (character === '\t') return ' '
    return escaped(character)
  })
}

/** JSON that is safe to print as well: JSON.stringify leaves C1 controls and the marks as they are. */
export function cleanJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(unsafeInJson, escaped)
}

/** The same for text of several lines, such as SQL: line breaks and tabs stay. */
export function cleanLines(text: string): string {
  return text
    .split(/\r?\n/)
    .map(line => line.split('\t').map(clean).join('\t'))
    .join('\n')
}
