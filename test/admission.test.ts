import { expect, test } from 'vitest'
import { Admission } from '../src/http/admission.ts'

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** Requests by their number, in the order in which they began. */
function admitted() {
  const admission = new Admission()
  const begun: string[] = []
  return { admission, begun, admit: (method: string, name: string) => admission.admit(method, () => begun.push(name)) }
}

test('of many requests that change something a few begin in a turn, in the order in which they came', async () => {
  const { begun, admit } = admitted()
  for (let n = 0; n < 20; n++) admit('PATCH', String(n))
  const perTurn = [begun.length]
  for (; begun.length < 20; perTurn.push(begun.length)) await turn()
  expect(Math.max(...perTurn.map((count, i) => count - (perTurn[i - 1] ?? 0)))).toBe(4)
  expect(begun).toEqual(Array.from({ length: 20 }, (_, n) => String(n)))
})

test('one that comes alone begins at once, turn after turn', async () => {
  const { begun, admit } = admitted()
  for (let n = 0; n < 10; n++) {
    admit('POST', String(n))
    expect(begun).toHaveLength(n + 1)
    await turn()
    await turn()
  }
})

test('what only reads waits for no other request; what asks where an upload stands comes in its order', async () => {
  const { begun, admit } = admitted()
  for (let n = 0; n < 20; n++) admit('PATCH', 'patch')
  admit('HEAD', 'head')
  admit('GET', 'get')
  admit('OPTIONS', 'options')
  expect(begun.slice(-2)).toEqual(['get', 'options'])
  while (begun.length < 23) await turn()
  expect(begun.at(-1)).toBe('head')
})

test('turns in which connections are taken begin nothing, until there are none any more', async () => {
  const { admission, begun, admit } = admitted()
  for (let n = 0; n < 50; n++) {
    admission.connected()
    admit('POST', String(n))
    await turn()
  }
  expect(begun).toEqual([])
  while (begun.length < 50) await turn()
  expect(begun).toEqual(Array.from({ length: 50 }, (_, n) => String(n)))
})

test('a flood of connections does not keep requests from beginning', async () => {
  const { admission, begun, admit } = admitted()
  admission.connected()
  admit('POST', 'post')
  while (begun.length === 0) {
    admission.connected()
    await turn()
  }
  expect(begun).toEqual(['post'])
})
