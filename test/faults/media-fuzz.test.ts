/**
 * Ten thousand damaged media files: each fixture, and each kind of file that keeps a parser busy, with bytes changed,
 * cut, doubled and moved. Nearly all go straight to the threads that look into media; every fiftieth takes the whole way
 * over HTTP, through each door in turn.
 */
import { readdirSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { Inspector } from '../../src/media/inspect.ts'
import { DOORS, sendThrough } from '../support/doors.ts'
import { fixtureBytes } from '../support/fixtures.ts'
import { startProcess } from '../support/process.ts'
import { STALLS } from '../support/stalls.ts'

const MUTANTS = Number(process.env.MEDIA_MUTANTS ?? 10_000)
const OVER_HTTP_EVERY = 50
const DEADLINE_MS = 3_000
/** What a busy machine may add: the asking, the answer, the disk. */
const SLACK_MS = 5_000
const SEED = Number(process.env.MEDIA_SEED ?? 20_251_126)

/** mulberry32: mutant n is the same for the same seed. */
function randomOf(seed: number) {
  let state = seed
  return (below: number): number => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

const NUMBERS = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x0fffffff, 0x01000000]

function mutate(whole: Buffer, random: (below: number) => number): Buffer {
  let bytes = Buffer.from(whole)
  // Most of what a parser believes stands at the beginning or, in MP4, at the end.
  const somewhere = () =>
    random(3) > 0 ? random(Math.min(bytes.length, 600)) : bytes.length - 1 - random(Math.min(bytes.length, 4_000))
  for (let changes = 1 + random(6); changes > 0 && bytes.length > 8; changes--) {
    const at = somewhere()
    const length = 1 + random(random(4) === 0 ? 5_000 : 16)
    switch (random(7)) {
      case 0:
        bytes[at] = random(256)
        break
      case 1:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8))
        break
      case 2: {
        const value = NUMBERS[random(NUMBERS.length)] ?? 0
        if (at + 4 <= bytes.length) random(2) ? bytes.writeUInt32BE(value, at) : bytes.writeUInt32LE(value, at)
        break
      }
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)])
        break
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)])
        break
      case 5:
        bytes.copy(bytes, somewhere(), at, at + length)
        break
      default:
        bytes = bytes.subarray(0, Math.max(9, random(4) === 0 ? at : bytes.length - random(200)))
    }
  }
  return bytes
}

const MAX_SEED_BYTES = 1_000_000
const seeds = [
  ...readdirSync('test/fixtures')
    .filter((name) => !name.endsWith('.sh'))
    .map((name) => ({ filename: name, bytes: fixtureBytes(name) })),
]

test(`${MUTANTS} damaged files: each is answered within the deadline, and never by a fault`, {
  timeout: 600_000,
}, async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'mutants-'))
  const server = await startProcess({
    env: { RECORDINGS_MEDIA_DEADLINE: `${DEADLINE_MS}ms`, RECORDINGS_MAX_UPLOADS_PER_CALLER: '1000' },
  })
  const lead = await server.lead()
  const inspector = new Inspector({ deadlineMs: DEADLINE_MS })
  const random = randomOf(SEED)
  const hostile = STALLS.map(({ filename, bytes }) => ({ filename, bytes: bytes() })).filter(
    ({ bytes }) => bytes.length < MAX_SEED_BYTES,
  )
  const startedAtMs = performance.now()
  let [slowestMs, viaHttp, ok] = [0, 0, 0]
  const givenUp: string[] = []

  async function one(index: number): Promise<void> {
    // One in a hundred is of the hostile kinds: each of these may take its whole deadline.
    const from = index % 100 === 99 ? hostile : seeds
    const { filename, bytes } = from[random(from.length)] as (typeof seeds)[number]
    const mutant = mutate(bytes, random)
    const askedAtMs = performance.now()
    if (index % OVER_HTTP_EVERY === 0) {
      viaHttp++
      const door = DOORS[viaHttp % DOORS.length] ?? 'tus'
      const { status } = await sendThrough(door, server, lead, mutant, filename)
      expect(status, `mutant ${index} of ${filename}, ${door}`).toBeLessThan(300)
    } else {
      const file = path.join(dir, String(index))
      await writeFile(file, mutant)
      const read = async (position: number, length: number) => mutant.subarray(position, position + length)
      const found = await inspector.inspect({ file: async () => file, read }, mutant.length, filename)
      await rm(file)
      expect(found.contentType).toMatch(/^(audio|video|application)\//)
      if (found.durationSeconds !== null) expect(found.durationSeconds).toBeGreaterThan(0)
      if (found.mediaCheck === 'ok') ok++
      if (found.givenUp) givenUp.push(`${index} ${filename} ${found.givenUp.reason}`)
    }
    const tookMs = performance.now() - askedAtMs
    slowestMs = Math.max(slowestMs, tookMs)
    expect(tookMs, `mutant ${index} of ${filename}`).toBeLessThan(DEADLINE_MS + SLACK_MS)
  }

  let next = 0
  const lane = async () => {
    while (next < MUTANTS) await one(next++)
  }
  await Promise.all(Array.from({ length: 4 }, lane))
  await inspector.close()
  await rm(dir, { recursive: true })
  const seconds = Math.round((performance.now() - startedAtMs) / 1_000)
  console.log(
    `${MUTANTS} mutants in ${seconds} s, ${viaHttp} over HTTP: ${ok} still media, ` +
      `the slowest ${Math.round(slowestMs)} ms, given up: ${givenUp.length}`,
  )
  expect(givenUp.filter((each) => !/deadline|memory/.test(each))).toEqual([])
  expect(server.lines.filter(({ level }) => level === 'error')).toEqual([])
  expect((await fetch(`${server.url}/livez`)).status).toBe(200)
})
