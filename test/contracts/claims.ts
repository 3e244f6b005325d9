/** What claims must do, whether instances share a database or one process has it alone: one suite, run over each. */
import { describe, expect, test } from 'vitest'
import type { Claims } from '../../src/db/claims.ts'
import type { Database } from '../../src/db/database.ts'

export const never = () => new AbortController().signal

interface Made {
  claims: Claims
  /** Runs what a claim adds to a transaction. */
  write: Database['write']
}

/** @param make gives claims that nobody has used; closed after the test */
export function claimsContract(name: string, make: () => Promise<Made>): void {
  describe(`claims of ${name}`, () => {
    test('an upload that nobody holds is taken, and is free again when it is released, once or twice', async () => {
      const { claims } = await make()
      for (let n = 0; n < 2; n++) {
        const claim = await claims.take('a', never(), () => {})
        await claim.release()
        await claim.release()
        expect(await claims.isHeld('a')).toBe(false)
      }
    })

    test('a claim ends in the transaction that ends the work', async () => {
      const { claims, write } = await make()
      const claim = await claims.take('a', never(), () => {})
      await write(...claim.ended())
      expect(await claims.isHeld('a')).toBe(false)
      await claim.release()
      await (await claims.take('a', never(), () => {})).release()
    })

    test('uploads are held each for itself', async () => {
      const { claims } = await make()
      const both = await Promise.all(['a', 'b'].map((id) => claims.take(id, never(), () => {})))
      await Promise.all(both.map((claim) => claim.release()))
    })

    test('one who is alone leads', async () => {
      const { claims } = await make()
      expect(await claims.leads('sweep')).toBe(true)
      expect(await claims.leads('sweep')).toBe(true)
    })
  })
}
