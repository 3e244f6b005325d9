/** Which files are to be uploaded, and for which calls: as told for one and all, or as each is named. */
import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { isId } from '../ids.ts'
import { isServedExtension } from '../media/extensions.ts'
import { UsageError } from './usage-error.ts'

export interface Told {
  lead?: string | undefined
  callLog?: string | undefined
  /** Such as `{lead}_{call_log}.{ext}`. */
  pattern?: string | undefined
}

/** A file and its call, or why there is none to be told. */
export type Named = { file: string } & (
  | { leadId: string; callLogId: string }
  | { fault: string }
  | { passedOver: string }
)

const PARTS: Readonly<Record<string, string>> = {
  lead: '[A-Za-z0-9_-]{1,64}',
  call_log: '[A-Za-z0-9_-]{1,64}',
  ext: '[A-Za-z0-9]+',
  any: '[^/]*',
}

type Match = (name: string) => { lead?: string | undefined; call_log?: string | undefined } | 'ambiguous' | undefined

const literally = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** @throws UsageError */
function matcherOf(pattern: string): Match {
  const seen = new Set<string>()
  const pieces = pattern.split(/\{([^{}]*)\}/).map((piece, i) => {
    if (i % 2 === 0) return { text: literally(piece) }
    const part = PARTS[piece]
    if (part === undefined || (seen.has(piece) && piece !== 'any')) {
      throw new UsageError(
        `--pattern has {${piece}}${part ? ' twice' : ''}: expected {lead}, {call_log}, {ext} or {any}, once each`,
      )
    }
    seen.add(piece)
    return { part, name: piece }
  })
  const regexOf = (lazy: string) =>
    new RegExp(
      `^${pieces.map(({ text, part, name }) => text ?? (name === 'any' ? `(?:${part}${lazy})` : `(?<${name}>${part}${lazy})`)).join('')}$`,
      'u',
    )
  // Ids have _ and - in them: what can be read in two ways is told.
  const [longest, shortest] = [regexOf(''), regexOf('?')]
  return (name) => {
    const [one, other] = [longest.exec(name)?.groups, shortest.exec(name)?.groups]
    if (!one || !other) return undefined
    return one.lead === other.lead && one.call_log === other.call_log ? one : 'ambiguous'
  }
}

/** @param name of the file, as the pattern is of it */
function namedBy(match: Match | undefined, { lead, callLog, pattern }: Told, file: string, name: string): Named {
  const found = match ? match(name) : {}
  if (found === undefined) {
    const reason = `its name is not of the form ${pattern}`
    return isServedExtension(name) ? { file, fault: reason } : { file, passedOver: reason }
  }
  if (found === 'ambiguous') {
    return {
      file,
      fault: `its name can be read as ${pattern} in two ways: use a separator that ids do not have, such as a dot`,
    }
  }
  const [leadId, callLogId] = [found.lead ?? lead, found.call_log ?? callLog]
  if (!isId(leadId) || !isId(callLogId)) return { file, fault: 'its lead or its call is not told' }
  return { file, leadId, callLogId }
}

async function* filesOf(word: string): AsyncGenerator<{ file: string; name: string }> {
  const found = await stat(word).catch(({ code }: NodeJS.ErrnoException) => {
    throw new UsageError(`${word} can't be read (${code}). Nothing was done.`)
  })
  if (!found.isDirectory()) {
    yield { file: word, name: path.basename(word) }
    return
  }
  const entries = await readdir(word, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name))
  for (const file of files.sort()) yield { file, name: path.relative(word, file).split(path.sep).join('/') }
}

/** Of folders, all that lies in them. @throws UsageError before anything is done */
export async function namedFiles(words: readonly string[], told: Told): Promise<Named[]> {
  const { lead, callLog, pattern } = told
  for (const [option, id] of [
    ['--lead', lead],
    ['--call-log', callLog],
  ] as const) {
    if (id !== undefined && !isId(id))
      throw new UsageError(`${option} is no id: expected 1 to 64 characters of A-Z a-z 0-9 _ -`)
  }
  const has = (part: string) => pattern?.includes(`{${part}}`)
  if (!has('lead') && lead === undefined) throw new UsageError('--lead is missing, or a --pattern with {lead}')
  if (!has('call_log') && callLog === undefined)
    throw new UsageError('--call-log is missing, or a --pattern with {call_log}')
  const match = pattern === undefined ? undefined : matcherOf(pattern)
  const all: Named[] = []
  for (const word of words) for await (const { file, name } of filesOf(word)) all.push(namedBy(match, told, file, name))
  return all
}
