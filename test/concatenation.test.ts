import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import type { Staging } from '../src/storage/staging.ts'
import { assemble } from '../src/uploads/parts.ts'
import { diskStores } from './support/disk-stores.ts'
import { noise } from './support/tus.ts'

const { again: open, uploads: directory, close } = await diskStores()
afterAll(close)
let made = 0

/** Parts of these sizes in the staging, which keeps the memory it is given, their bytes together, and a name for the whole. */
async function staged(staging: Staging, sizes: readonly number[]) {
  const round = made++
  const parts = sizes.map((size, i) => ({ id: `part-${round}-${i}`, size, bytes: noise(size) }))
  for (const { id, bytes } of parts) {
    if (bytes.length > 0) await staging.append(Readable.from([Buffer.from(bytes)], { objectMode: false }), id, 0)
  }
  return { parts, id: `whole-${round}`, bytes: Buffer.concat(parts.map((part) => part.bytes)) }
}

const sizes = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 5_000 }), fc.constant(1_100_000)), {
  minLength: 1,
  maxLength: 6,
})

describe('assembling parts', () => {
  test('broken off at any step, by this process or another, ends with their bytes in order and no part left', async () => {
    const stops = fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(sizes, stops, fc.boolean(), async (each, breaks, isAnother) => {
        let staging = open()
        const { parts, id, bytes } = await staged(staging, each)
        for (const stop of breaks) {
          let steps = 0
          const breakOff = () => {
            if (++steps === stop) throw new Error('broken off')
          }
          await assemble(staging, id, parts, breakOff).catch((error) => expect(error.message).toBe('broken off'))
          if (isAnother) staging = open()
        }
        expect(await assemble(staging, id, parts)).toBe(bytes.length > 0)
        // Asked again, there is nothing to do.
        expect(await assemble(staging, id, parts)).toBe(bytes.length > 0)
        if (bytes.length === 0) return
        expect(readFileSync(path.join(directory, id)).equals(bytes)).toBe(true)
        expect(readdirSync(directory)).toEqual([id])
        expect(await staging.sha256(id, bytes.length)).toBe(createHash('sha256').update(bytes).digest('hex'))
        await staging.discard(id)
      }),
      { numRuns: 60 },
    )
  })

  test('takes the SHA-256 on the way: the whole is not read again', async () => {
    const staging = open()
    const { parts, id, bytes } = await staged(staging, [1_000, 2_000_000, 3])
    await assemble(staging, id, parts)
    rmSync(path.join(directory, id))
    expect(await staging.sha256(id, bytes.length)).toBe(createHash('sha256').update(bytes).digest('hex'))
  })

  test('fails loudly when bytes of a part are gone, whichever it is', async () => {
    for (const lost of [1, 2]) {
      const staging = open()
      const { parts, id } = await staged(staging, [10, 20, 30])
      await staging.discard(parts[lost]?.id as string)
      await expect(assemble(staging, id, parts)).rejects.toMatchObject({ code: 'upload_expired' })
    }
    const staging = open()
    const { parts, id } = await staged(staging, [10, 20, 30])
    await staging.discard(parts[0]?.id as string)
    // As after the whole has moved on: whoever asks looks there, and else for the bytes in vain.
    expect(await assemble(staging, id, parts)).toBe(false)
  })

  test('fails loudly when a part is shorter than it was', async () => {
    const staging = open()
    const { parts, id } = await staged(staging, [10, 20])
    await staging.truncate(parts[1]?.id as string, 5)
    await expect(assemble(staging, id, parts)).rejects.toThrow('only 5 of 20 bytes')
  })
})
