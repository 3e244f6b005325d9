/** A file that keeps a parser of media busy: nobody else waits for it, and its upload is answered. More of them in `test/faults/stalls.test.ts`. */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { DEADLINE_MS, expectTakenIn, stallNamed, startBesideStalls } from './support/beside-stall.ts'
import { DOORS } from './support/doors.ts'
import { AUDIO, fixtureBytes } from './support/fixtures.ts'
import { startProcess } from './support/process.ts'
import { record } from './support/recordings.ts'
import { jsonOf } from './support/service.ts'
import { stagedBytes, tusClient } from './support/tus.ts'

const shared = await startBesideStalls({ RECORDINGS_MEDIA_DEADLINE: `${DEADLINE_MS}ms` })

describe('while a file that keeps a parser busy is taken in, /livez answers at once, and so is the file', () => {
  test.for(DOORS)('through the door %s', (door) => expectTakenIn(shared, door, stallNamed('50,000 tags in WebM')))
})

test('past the deadline type goes by the first bytes, duration is null, and the log says so', async () => {
  const server = await startProcess({ env: { RECORDINGS_MEDIA_DEADLINE: '1ms' } })
  for (const { name, contentType } of AUDIO.filter((each) => each.name !== 'tone.wav')) {
    const known = server.lines.length
    const lead = await server.lead()
    const { id } = await record(server, fixtureBytes(name), { filename: 'misnamed.wav', lead })
    const told = await jsonOf(await server.api('GET', `/api/leads/${lead.leadId}/recordings/${id}/details`))
    const saysSo = server.lines.slice(known).find(({ event }) => event === 'mediaGivenUp')
    // A thread that waits for work may be faster than a millisecond.
    if (!saysSo) continue
    expect(saysSo).toMatchObject({ level: 'warn', leadId: lead.leadId, reason: 'deadline' })
    expect(told, name).toMatchObject({ content_type: contentType, duration_seconds: null, media_check: 'ok' })
  }
  expect(server.lines.filter(({ event }) => event === 'mediaGivenUp').length).toBeGreaterThan(0)
})

test('SIGTERM is heard while threads are busy: the uploads are answered, and the process ends in order', async () => {
  const server = await startProcess({ env: { RECORDINGS_MEDIA_DEADLINE: '3s' } })
  const tus = tusClient(server.tokens.telecaller)
  const stall = stallNamed('50,000 tags in WebM')
  const bytes = stall.bytes()
  const uploads = await Promise.all(
    Array.from({ length: 4 }, async () => tus.begin(await server.lead(), bytes.length, stall.filename)),
  )
  const patched = Promise.all(uploads.map((upload) => tus.patch(upload, 0, bytes)))
  await expect
    .poll(() => uploads.map((upload) => stagedBytes(server, upload)), { interval: 20 })
    .toEqual(uploads.map(() => bytes.length))
  await sleep(100) // into the inspection
  const startedAtMs = performance.now()
  const [answers, exit] = await Promise.all([patched, server.kill('SIGTERM')])
  expect(exit).toEqual({ code: 0, signal: null })
  expect(performance.now() - startedAtMs).toBeLessThan(15_000)
  expect(answers.map(({ status }) => status)).toEqual([204, 204, 204, 204])
  expect(answers.map(({ headers }) => headers.get('recording-id'))).not.toContain(null)
  expect(server.lines.some(({ msg }) => msg === 'stopped')).toBe(true)
})
