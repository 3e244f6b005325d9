/** An instance that takes claims as it is told by the process that started it. */
import type { Claim } from '../../src/db/claims.ts'
import { openClaims } from '../../src/db/postgres/postgres-claims.ts'
import { openPostgres } from '../../src/db/postgres/postgres.ts'
import { connectionsTo } from './connections.ts'

interface Order {
  n: number
  act: 'take' | 'release' | 'leads'
  id: string
  manners?: 'polite' | 'deaf'
}

const held = new Map<string, Claim>()
const [url = '', silentAtMostMs] = process.argv.slice(2)
const db = await openPostgres(connectionsTo(url))
const claims = await openClaims({ db, silentAtMostMs: Number(silentAtMostMs) })

async function obey({ act, id, manners }: Order): Promise<unknown> {
  if (act === 'leads') return claims.leads('sweep')
  if (act === 'release') return held.get(id)?.release()
  const claim = await claims.take(id, new AbortController().signal, () => {
    if (manners === 'polite') void claim.release()
  })
  held.set(id, claim)
  return undefined
}

process.on('message', (order: Order) => {
  obey(order).then(
    (result) => process.send?.({ n: order.n, result }),
    (error: Error) => process.send?.({ n: order.n, fault: error.message }),
  )
})
process.send?.({ pid: process.pid })
