/**
 * The name of a request's route, for metrics and traces: its address as the contract writes it, such as
 * `/api/leads/{lead_id}/uploads`, and never an id.
 *
 * By the address alone, since requests come by routers, and past them. One look at each part of it, and no text is made.
 */
import { ADDRESSES, TUS_ADDRESSES } from './methods.ts'

/** What no route has, has one name in all. */
export const OTHER = 'other'

interface Node {
  name: string | undefined
  readonly parts: Map<string, Node>
  any: Node | undefined
}

const newNode = (): Node => ({ name: undefined, parts: new Map(), any: undefined })

/** As the contract has parameters, from how Express has them: `:leadId` is `{lead_id}`. */
const asContract = (pattern: string) =>
  pattern.replace(/:(\w+)/g, (_, name: string) => `{${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}}`)

function treeOf(patterns: readonly string[]): Node {
  const root = newNode()
  for (const pattern of patterns) nodeOf(root, pattern).name = asContract(pattern)
  return root
}

const ROOT = treeOf([...ADDRESSES.map(([path]) => path), ...TUS_ADDRESSES])

/** @param url as it was asked for, with its query */
export function routeName(url: string): string {
  const query = url.indexOf('?')
  const end = query === -1 ? url.length : query
  let node: Node | undefined = ROOT
  for (let at = 1; node && at < end; ) {
    const slash = url.indexOf('/', at)
    const until = slash === -1 || slash > end ? end : slash
    const part = url.slice(at, until)
    node = node.parts.get(part) ?? (part === '' ? undefined : node.any)
    at = until + 1
  }
  return node?.name ?? OTHER
}

function nodeOf(root: Node, pattern: string): Node {
  let node = root
  for (const part of pattern.split('/').filter(Boolean)) {
    if (part.startsWith(':')) {
      node.any ??= newNode()
      node = node.any
    } else {
      const next = node.parts.get(part) ?? newNode()
      node.parts.set(part, next)
      node = next
    }
  }
  return node
}
