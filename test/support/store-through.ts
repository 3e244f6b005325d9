/** Many clients at once, whatever becomes of the server meanwhile, and the account of what they have stored. */
import { expectExactly } from './accounts.ts'
import type { ServerProcess } from './process.ts'
import type { TestClient } from './service.ts'
import { DOORS, type Stored } from './stubborn.ts'
import { noise } from './tus.ts'

const LEADS = 4

/**
 * Clients through every door, until `disturb` is through; then everything is accounted for.
 *
 * @param client whom they turn to, if not to the server itself
 */
export async function storeThrough(
  server: ServerProcess,
  disturb: () => Promise<void>,
  { client = server, settle = async () => {} }: { client?: TestClient; settle?: () => Promise<void> } = {},
) {
  const leads = await Promise.all(Array.from({ length: LEADS }, () => client.lead()))
  const stored: Stored[] = []
  let working = true
  const counts = { tus: 0, legacy: 0, simple: 0 }

  const work = async (door: keyof typeof DOORS, n: number) => {
    while (working) {
      const bytes = noise(40_000 + Math.floor(Math.random() * 900_000))
      const lead = leads[n % LEADS] as (typeof leads)[number]
      const stepBytes = 20_000 + Math.floor(Math.random() * 150_000)
      stored.push(await DOORS[door]({ client, lead, bytes, stepBytes }))
      counts[door] += 1
    }
  }
  const disturbed = disturb().finally(() => {
    working = false
  })
  const workers = [work('tus', 0), work('tus', 1), work('legacy', 2), work('legacy', 3), work('simple', 0)]
  await Promise.all([disturbed, ...workers])
  await settle()
  await expectExactly(
    server,
    leads.map((lead) => lead.leadId),
    stored,
  )
  return counts
}
