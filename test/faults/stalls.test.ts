/** Files that keep a parser of media busy: nobody else waits for them, and their upload is answered. */
import { describe, expect, test } from 'vitest'
import {
  DEADLINE_MS,
  expectLivezAnswers,
  expectTakenIn,
  SLACK_MS,
  stallNamed,
  startBesideStalls,
  wrapper,
} from '../support/beside-stall.ts'
import { DOORS, sendThrough } from '../support/doors.ts'
import { fixtureBytes } from '../support/fixtures.ts'
import { watchAddress } from '../support/process.ts'
import { offsets, record } from '../support/recordings.ts'
import { STALLS } from '../support/stalls.ts'
import { tusClient } from '../support/tus.ts'

/** Plain PCM, which needs no thread. */
function wave(bytes: number): Buffer {
  const file = Buffer.alloc(bytes)
  fixtureBytes('tone.wav').copy(file, 0, 0, 44)
  return file
}

const quantile = (timesMs: number[], share: number) =>
  timesMs.toSorted((a, b) => a - b)[Math.floor(timesMs.length * share)] ?? Number.NaN

const shared = await startBesideStalls({ RECORDINGS_MEDIA_DEADLINE: `${DEADLINE_MS}ms` })

describe('while a file that keeps a parser busy is taken in, /livez answers at once, and so is the file', () => {
  const cases = STALLS.flatMap((stall, index) =>
    // The worst through all doors, the others through one each: behind its door an upload is an upload.
    /genres in one|tags in WebM/.test(stall.name)
      ? DOORS.map((door) => ({ ...stall, door }))
      : { ...stall, door: DOORS[index % DOORS.length] as (typeof DOORS)[number] },
  )
  test.for(cases)('$name, through the door $door', ({ door, ...stall }) => expectTakenIn(shared, door, stall))
})

test('20 uploads of the worst file at once, and an honest one: all are answered, and playback goes on as beside 20 others', async () => {
  const server = await startBesideStalls({ RECORDINGS_MEDIA_DEADLINE: `${DEADLINE_MS}ms` })
  const heard = await record(server, offsets(4 * 2 ** 20))
  const headers = { authorization: `Bearer ${server.tokens.telecaller}`, range: 'bytes=1000000-1065535' }
  const listen = () => watchAddress(heard.url, headers, wrapper)

  /** What listeners wait for while 20 of these, and an honest file among them, are taken in. */
  async function beside(body: Buffer, filename: string) {
    const leads = await Promise.all(Array.from({ length: 21 }, () => server.lead()))
    const stopListening = await listen()
    const startedAtMs = performance.now()
    const uploads = leads.map(async (lead, index) => {
      const { status } =
        index === 20
          ? await sendThrough('tus', server, lead, fixtureBytes('tone.m4a'), 'call.m4a')
          : await sendThrough(DOORS[index % 3] ?? 'tus', server, lead, body, filename)
      return { status, tookMs: performance.now() - startedAtMs }
    })
    const answers = await Promise.all(uploads)
    const heardMs = await stopListening()
    for (const { status } of answers) expect(status).toBeLessThan(300)
    return { heardMs, slowestMs: Math.max(...answers.map(({ tookMs }) => tookMs)) }
  }

  const body = stallNamed('50,000 tags in WebM').bytes()
  await beside(wave(body.length), 'call.wav') // the first requests of a process are compiled as they run
  const usual = await beside(wave(body.length), 'call.wav')
  let hostile: Awaited<ReturnType<typeof beside>> | undefined
  await expectLivezAnswers(server, async () => {
    hostile = await beside(body, 'call.webm')
  })
  if (!hostile) throw new Error('nothing was sent')
  const p99 = { usual: quantile(usual.heardMs, 0.99), hostile: quantile(hostile.heardMs, 0.99) }
  console.log(
    `playback p99: ${p99.usual.toFixed(1)} ms beside 20 plain files, ${p99.hostile.toFixed(1)} ms beside 20 of the worst`,
  )
  expect(hostile.slowestMs).toBeLessThan(usual.slowestMs + DEADLINE_MS + SLACK_MS)
  expect(p99.hostile).toBeLessThan(Math.max(3 * p99.usual, 100))
})

test('kill -9 as an inspection begins: the client goes on with the next server, and is answered within the deadline', async () => {
  const server = await startBesideStalls({
    RECORDINGS_MEDIA_DEADLINE: '30s',
    RECORDINGS_TEST_CRASH_AT: 'rights-checked',
  })
  const tus = tusClient(server.tokens.telecaller)
  const stall = stallNamed('50,000 tags in WebM')
  const bytes = stall.bytes()
  const upload = await tus.begin(await server.lead(), bytes.length, stall.filename)
  const cut = tus.patch(upload, 0, bytes).catch(() => undefined)
  await server.exited
  expect(await cut).toBeUndefined()
  await server.restart({ RECORDINGS_MEDIA_DEADLINE: `${DEADLINE_MS}ms`, RECORDINGS_TEST_CRASH_AT: '' })
  const goOn = async () => {
    const offset = Number((await tus.head(upload)).headers.get('upload-offset'))
    const done =
      offset === bytes.length ? await tus.head(upload) : await tus.patch(upload, offset, bytes.subarray(offset))
    expect(done.headers.get('recording-id')).not.toBeNull()
  }
  await expectLivezAnswers(server, goOn, 'turnsOnce')
})
