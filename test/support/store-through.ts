/** Many clients at once, whatever becomes of the server meanwhile, and the account of what they have stored. */
import { expectExactly } from './accounts.ts'
import type { ServerProcess } from './process.ts'
import type { TestClient } from './service.ts'
import { DOORS, type Heard, type Stored, storeByReplacedChunks } from './stubborn.ts'
import { noise } from './tus.ts'

const LEADS = 4
const MIB = 2 ** 20

interface Options {
  /** Whom clients turn to, if not to the server itself. */
  client?: TestClient
  /** Done when the clients have left. */
  settle?: () => Promise<void>
  /** Besides, uploads of which a finish does not hold all in memory. */
  large?: boolean
  /** Gets what sent clients back. */
  heard?: Heard
}

/**
 * Clients through every door, until `disturb` is through; then everything is accounted for.
 *
 * @param disturb gets the list of what is stored, which grows
 */
export async function storeThrough(
  server: ServerProcess,
  disturb: (stored: readonly Stored[]) => Promise<void>,
  { client = server, settle = async () => {}, large = false, heard = {} }: Options = {},
) {
  const leads = await Promise.all(Array.from({ length: LEADS }, () => client.lead()))
  const stored: Stored[] = []
  let working = true
  const counts = { tus: 0, legacy: 0, simple: 0 }

  const work = async (door: keyof typeof DOORS, n: number, isLarge = false) => {
    for (let turn = 0; working; turn++) {
      const bytes = noise(isLarge ? 18 * MIB : 40_000 + Math.floor(Math.random() * 900_000))
      const lead = leads[n % LEADS] as (typeof leads)[number]
      const stepBytes = isLarge ? 4 * MIB : 20_000 + Math.floor(Math.random() * 150_000)
      const store = door === 'legacy' && turn % 3 === 2 ? storeByReplacedChunks : DOORS[door]
      stored.push(await store({ client, lead, bytes, stepBytes, heard }))
      counts[door] += 1
    }
  }
  const disturbed = disturb(stored).finally(() => {
    working = false
  })
  const workers = [work('tus', 0), work('tus', 1), work('legacy', 2), work('legacy', 3), work('simple', 0)]
  if (large) workers.push(work('tus', 1, true))
  await Promise.all([disturbed, ...workers])
  await settle()
  await expectExactly(
    server,
    leads.map((lead) => lead.leadId),
    stored,
  )
  return counts
}
