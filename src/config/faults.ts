/** What is said of a setting that is wrong: its value as it may be printed, and the setting that a wrong name may mean. */
import { HIDDEN, type SettingName } from './settings.ts'

/** What was given, fit to be printed: no secret, no credentials or query of an address. */
export function shown(name: SettingName, text: string | undefined): string {
  if (text === undefined) return 'not given'
  if (HIDDEN.includes(name)) {
    return `not shown (${Buffer.byteLength(text)} bytes${/[\r\n]/.test(text) ? ', a line break among them' : ''})`
  }
  const masked = text.replace(/\/\/[^/?#]*@/g, '//***@').replace(/\?.*$/, '?***')
  return `\`${masked.length > 200 ? `${masked.slice(0, 200)}…` : masked}\``
}

/** As an environment file leaves it where its reader takes no quotes off. */
export const isQuoted = (text: string) => /^\s*(["'`]).*\1\s*$/s.test(text)

/** Kubernetes gives these to every pod beside a service that is named `recordings`. */
const SERVICE_LINK = /^RECORDINGS_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)$/

/** Its value is left out: it may be a secret under a name misspelt. */
export function unknown(name: string, known: readonly SettingName[]): string {
  if (SERVICE_LINK.test(name) && name !== 'RECORDINGS_PORT') {
    return `${name} is no setting; Kubernetes sets it for a service called recordings: expected enableServiceLinks: false`
  }
  const stem = (text: string) => text.toUpperCase().replace(/^RECORDINGS_/, '')
  const closest = known
    .map((candidate) => ({ candidate, distance: editDistance(stem(name), stem(candidate)) }))
    .sort((a, b) => a.distance - b.distance)[0]
  const isClose = closest !== undefined && closest.distance <= Math.max(1, Math.floor(stem(name).length / 4))
  return `${name} is no setting${isClose ? `; did you mean ${closest.candidate}?` : ': remove it, or see docs/operating.md for the names that there are'}`
}

/** Levenshtein: how many letters to add, drop or change. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
