import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import type { Staged, Staging } from '../src/storage/staging.ts'
import { assemble } from '../src/uploads/parts.ts'
import { diskStores } from './support/disk-stores.ts'
import { noise } from './support/tus.ts'

const { again: open, uploads: directory, close } = await diskStores()
afterAll(close)
let made = 0

/** Parts of these sizes in the staging, whose handles keep the memory they are given, and their bytes together. */
async function staged(staging: Staging, sizes: readonly number[]) {
  const round = made++
  const parts = sizes.map((size, i) => ({ staged: staging.of(`part-${round}-${i}`), size, bytes: noise(size) }))
  for (const { staged, bytes } of parts) {
    if (bytes.length > 0) await staged.append(Readable.from([Buffer.from(bytes)], { objectMode: false }), 0)
  }
  return { parts, whole: staging.of(`whole-${round}`), bytes: Buffer.concat(parts.map((part) => part.bytes)) }
}

/** The same, as another process has it. */
const anew = <P extends { staged: Staged }>(parts: readonly P[]): P[] => {
  const staging = open()
  return parts.map((part) => ({ ...part, staged: staging.of(part.staged.id) }))
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
        const { bytes, ...made } = await staged(open(), each)
        let { parts, whole } = made
        for (const stop of breaks) {
          let steps = 0
          const breakOff = () => {
            if (++steps === stop) throw new Error('broken off')
          }
          await assemble(whole, parts, breakOff).catch((error) => expect(error.message).toBe('broken off'))
          if (!isAnother) continue
          parts = anew(parts)
          whole = open().of(whole.id)
        }
        expect(await assemble(whole, parts)).toBe(bytes.length > 0)
        // Asked again, there is nothing to do.
        expect(await assemble(whole, parts)).toBe(bytes.length > 0)
        if (bytes.length === 0) return
        expect(readFileSync(path.join(directory, whole.id)).equals(bytes)).toBe(true)
        expect(readdirSync(directory)).toEqual([whole.id])
        expect(await whole.sha256(bytes.length)).toBe(createHash('sha256').update(bytes).digest('hex'))
        await whole.discard()
      }),
      { numRuns: 60 },
    )
  })

  test('takes the SHA-256 on the way: the whole is not read again', async () => {
    const { parts, whole, bytes } = await staged(open(), [1_000, 2_000_000, 3])
    await assemble(whole, parts)
    rmSync(path.join(directory, whole.id))
    expect(await whole.sha256(bytes.length)).toBe(createHash('sha256').update(bytes).digest('hex'))
  })

  test('fails loudly when bytes of a part are gone, whichever it is', async () => {
    for (const lost of [1, 2]) {
      const { parts, whole } = await staged(open(), [10, 20, 30])
      await parts[lost]?.staged.discard()
      await expect(assemble(whole, parts)).rejects.toMatchObject({ code: 'upload_expired' })
    }
    const { parts, whole } = await staged(open(), [10, 20, 30])
    await parts[0]?.staged.discard()
    // As after the whole has moved on: the caller looks there, and else for the bytes in vain.
    expect(await assemble(whole, parts)).toBe(false)
  })

  test('fails loudly when a part is shorter than it was', async () => {
    const { parts, whole } = await staged(open(), [10, 20])
    await parts[1]?.staged.truncate(5)
    await expect(assemble(whole, parts)).rejects.toThrow('only 5 of 20 bytes')
  })
})
