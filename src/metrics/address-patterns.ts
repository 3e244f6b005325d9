/**
 * The name of a request's route: the pattern of its address, such as `/api/leads/:leadId/uploads`, and never an id.
 *
 * By the address alone, since requests come by routers, and past them. One look at each part of it, and no text is made.
 */

/** What no route has, has one name in all. */
export const OTHER = 'other'

interface Node {
  name: string | undefined
  readonly parts: Map<string, Node>
  any: Node | undefined
}

const newNode = (): Node => ({ name: undefined, parts: new Map(), any: undefined })

/** @param patterns as Express takes them */
export function routeNames(patterns: readonly string[]): (url: string) => string {
  const root = newNode()
  for (const pattern of patterns) nodeOf(root, pattern).name = pattern

  return (url) => {
    const query = url.indexOf('?')
    const end = query === -1 ? url.length : query
    let node: Node | undefined = root
    for (let at = 1; node && at < end; ) {
      const slash = url.indexOf('/', at)
      const until = slash === -1 || slash > end ? end : slash
      node = node.parts.get(url.slice(at, until)) ?? node.any
      at = until + 1
    }
    return node?.name ?? OTHER
  }
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
