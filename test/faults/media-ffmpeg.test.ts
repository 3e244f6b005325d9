/** Type and duration of what ffmpeg writes, whole and damaged, beside what ffprobe and the decoder make of it. */
import { beforeAll, describe, expect, test } from 'vitest'
import { inspectMedia } from '../../src/media/media-type.ts'
import { decodedSeconds, encodeAll, hasFfmpeg, MADE, probedSeconds } from '../support/ffmpeg.ts'
import { AUDIO, fixtureBytes, VIDEO } from '../support/fixtures.ts'
import { junk } from '../support/media-files.ts'

if (!hasFfmpeg && process.env.CI) test('ffmpeg is there (apt-get install ffmpeg)', () => expect.unreachable())

const inspect = (bytes: Buffer, name: string) =>
  inspectMedia(async (position, length) => bytes.subarray(position, position + length), bytes.length, name)

/** @param slackSeconds what a decoder adds or leaves out at the ends */
function expectWithin(told: number | null, seconds: number | undefined, slackSeconds = 0) {
  if (seconds === undefined) throw new Error('there is no second opinion')
  expect(Math.abs((told ?? 0) - seconds), `${told} s, not ${seconds} s`).toBeLessThan(0.02 * seconds + slackSeconds)
}

describe.skipIf(!hasFfmpeg)('beside ffmpeg (skipped without the package ffmpeg)', () => {
  let made: ReadonlyMap<string, Buffer>
  beforeAll(async () => {
    made = await encodeAll(7.3)
  })
  const madeBytes = (name: string) => made.get(name) ?? Buffer.alloc(0)

  test.concurrent.for(MADE)('%s: type, and duration within 2 %', async ([name, , contentType]) => {
    const bytes = madeBytes(name)
    const found = await inspect(bytes, name)
    expect(found).toMatchObject({ contentType, mediaCheck: 'ok' })
    // Without a table ffprobe guesses by the first frames' speed.
    const asked = name.startsWith('VBR without') ? decodedSeconds : probedSeconds
    expectWithin(found.durationSeconds, await asked(name, bytes))
    for (const behind of [junk(700), Buffer.alloc(700, 0x5a)]) {
      const again = await inspect(Buffer.concat([bytes, behind]), name)
      expectWithin(again.durationSeconds, found.durationSeconds ?? 0)
    }
  })

  test.concurrent.for(MADE)('half of %s: as much as can be heard, or no word', async ([name]) => {
    const bytes = madeBytes(name)
    await expectHeard(name, bytes.subarray(0, bytes.length / 2))
  })

  test.concurrent.for([...AUDIO, ...VIDEO])('$name, cut: as much as can be heard, or no word', async ({ name }) => {
    const bytes = fixtureBytes(name)
    for (const share of [0.99, 0.5]) await expectHeard(name, bytes.subarray(0, bytes.length * share))
  })

  async function expectHeard(name: string, cut: Buffer) {
    const { durationSeconds } = await inspect(cut, name)
    if (durationSeconds === null) return
    const heard = await decodedSeconds(name, cut)
    if (heard !== undefined) expectWithin(durationSeconds, heard, 0.1)
  }
})
