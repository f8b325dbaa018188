import type { CheckResult, DoctorResult } from '../../doctor/finding.ts'
import { plural } from './format.ts'
import { clean } from './sanitize.ts'
import type { Style } from './style.ts'

/** So many of one kind are shown in full; a fleet may have a thousand of them. */
const shownOfAKind = 10

/** By server: what is well in a line each, what is not with what puts it right, and the sum. */
export function doctorText({ checks }: DoctorResult, style: Style): string {
  const servers = [...new Set(checks.map(check => check.server))]
  const groups = servers.map(server => {
    const mine = checks.filter(check => check.server === server)
    const title = server === undefined ? 'registry' : `server ${clean(server)}`
    return [style.bold(title), ...lines(mine, style)].join('\n')
  })
  return [...groups, sum(checks, style)].join('\n\n')
}

function lines(checks: readonly CheckResult[], style: Style): string[] {
  const calm = checks
    .filter(({ status }) => status === 'ok')
    .map(check => `  ${style.good('✓')} ${clean(check.message)}`)
  const rest = checks.filter(({ status }) => status !== 'ok')
  const kinds = [...new Set(rest.map(kindOf))]
  const found = kinds.flatMap(kind => {
    const alike = rest.filter(check => kindOf(check) === kind)
    const shown = style.verbose ? alike : alike.slice(0, shownOfAKind)
    const more = alike.length - shown.length
    const hidden = more > 0 ? [style.dim(`    and ${more} more like that; --verbose shows all of them`)] : []
    return [...shown.flatMap(check => finding(check, style)), ...hidden]
  })
  return [...calm, ...found]
}

function kindOf({ check, status }: CheckResult): string {
  return `${status} ${check}`
}

function finding({ status, tenant, message, fix, fixed }: CheckResult, style: Style): string[] {
  const mark = fixed ? style.good('✓') : status === 'problem' ? style.bad('✗') : style.warn('!')
  const who = tenant === undefined ? '' : `${style.bold(clean(tenant))}: `
  const done = fixed ? style.good('fixed: ') : ''
  const line = `  ${mark} ${done}${who}${clean(message)}`
  return fix === undefined || fixed ? [line] : [line, `      ${style.accent(clean(fix))}`]
}

function sum(checks: readonly CheckResult[], style: Style): string {
  const count = (status: CheckResult['status']) => checks.filter(each => each.status === status && !each.fixed).length
  const [problems, warnings, fixed] = [count('problem'), count('warning'), checks.filter(each => each.fixed).length]
  const parts = [
    ...(problems > 0 ? [style.bad(plural(problems, 'problem'))] : [style.good('no problems')]),
    ...(warnings > 0 ? [style.warn(plural(warnings, 'warning'))] : []),
    ...(fixed > 0 ? [style.good(`${fixed} fixed`)] : []),
  ]
  return parts.join(', ')
}
