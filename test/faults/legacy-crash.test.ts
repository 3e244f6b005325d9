/** `kill -9` between any two steps of the legacy door: what was acknowledged is there, and the upload goes on. */
import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { legacyClient } from '../support/legacy.ts'
import { startProcess } from '../support/process.ts'
import { jsonOf } from '../support/service.ts'
import { noise, tusClient } from '../support/tus.ts'

const server = await startProcess()
const legacy = legacyClient(server)
const tus = tusClient(server.tokens.telecaller)
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
type Lead = Awaited<ReturnType<typeof server.lead>>

let crashes = 0

/** Sends until it is answered; a crash in between starts the server again, which then crashes no more. */
async function surviving(send: () => Promise<Response>): Promise<Response> {
  for (;;) {
    try {
      return await send()
    } catch {
      expect((await server.exited).signal).toBe('SIGKILL')
      crashes++
      await server.restart({ RECORDINGS_TEST_CRASH_AT: '' })
    }
  }
}

async function expectWhole(lead: Lead, id: string, parts: Buffer[]) {
  const whole = Buffer.concat(parts)
  const res = await surviving(() => legacy.finalize(lead, id, parts.length))
  const recording = await jsonOf(res)
  expect([res.status, recording.size, recording.sha256]).toEqual([200, whole.length, sha256(whole)])
  const played = await server.api('GET', `${lead.recordings}/${recording.id}`)
  expect(Buffer.from(await played.arrayBuffer()).equals(whole)).toBe(true)
  expect((await jsonOf(await server.api('GET', lead.recordings))).recordings).toHaveLength(1)
  expect((await server.files('uploads')).filter((file) => file.startsWith(id))).toEqual([])
}

describe('kill -9', () => {
  test('between any two appends loses no chunk that was acknowledged', async () => {
    const lead = await server.lead()
    const id = await legacy.begin(lead)
    const parts = Array.from({ length: 5 }, (_, i) => noise(20_000 + i))
    let bytes = 0
    for (const [count, index] of [0, 3, 1, 4, 2].entries()) {
      const res = await legacy.append(lead, id, index, parts[index] as Buffer)
      bytes += (parts[index] as Buffer).length
      expect(await jsonOf(res)).toMatchObject({ chunks_received: count + 1, bytes_received: bytes })
      await server.restart()
      const head = await tus.head(`${lead.uploads}/${id}`)
      const contiguous = [20_000, 20_000, 40_001, 40_001, 100_010][count]
      expect(head.headers.get('upload-offset')).toBe(String(contiguous))
      const again = await legacy.append(lead, id, index, parts[index] as Buffer)
      expect(await jsonOf(again)).toMatchObject({ chunks_received: count + 1, bytes_received: bytes })
    }
    await expectWhole(lead, id, parts)
  })

  test.for([
    'placed',
    'chunk-stored',
    'early-batch',
    'early-moved',
    'composed',
    'composed-recorded',
    'composed-batch',
    'sealed',
    'moved',
  ])('at the step %s of an upload with early and corrected chunks loses nothing', async (step) => {
    const lead = await server.lead()
    const id = await legacy.begin(lead)
    const parts = [noise(30_000), noise(50_000), noise(10_000), noise(700)]
    await legacy.append(lead, id, 0, parts[0] as Buffer)
    await legacy.append(lead, id, 2, noise(9_999))
    await legacy.append(lead, id, 3, parts[3] as Buffer)
    await legacy.append(lead, id, 0, noise(100))
    await legacy.append(lead, id, 0, parts[0] as Buffer)
    await server.restart({ RECORDINGS_TEST_CRASH_AT: step })
    crashes = 0
    for (const index of [1, 2]) {
      const res = await surviving(() => legacy.append(lead, id, index, parts[index] as Buffer))
      expect(res.status).toBe(202)
    }
    await expectWhole(lead, id, parts)
    expect(crashes).toBe(1)
  })

  test.for(['composed-recorded', 'became', 'composed-batch'])(
    'at the step %s, and then the client goes on appending',
    async (step) => {
      const lead = await server.lead()
      const id = await legacy.begin(lead)
      const parts = [noise(30_000), noise(5_000), noise(10_000)]
      for (const index of [0, 1]) await legacy.append(lead, id, index, noise(20_000))
      await legacy.append(lead, id, 1, parts[1] as Buffer)
      await server.restart({ RECORDINGS_TEST_CRASH_AT: step })
      await expect(legacy.finalize(lead, id, 2)).rejects.toThrow()
      await server.restart({ RECORDINGS_TEST_CRASH_AT: '' })
      expect(await jsonOf(await legacy.append(lead, id, 2, parts[2] as Buffer))).toMatchObject({
        chunks_received: 3,
        bytes_received: 35_000,
      })
      expect(await jsonOf(await legacy.append(lead, id, 0, parts[0] as Buffer))).toMatchObject({
        chunks_received: 3,
        bytes_received: 45_000,
      })
      await expectWhole(lead, id, parts)
    },
  )

  test('between the write of a chunk and its record leaves an upload that can be finished without it', async () => {
    const lead = await server.lead()
    const id = await legacy.begin(lead)
    const bytes = noise(20_000)
    await legacy.append(lead, id, 0, bytes)
    await server.restart({ RECORDINGS_TEST_CRASH_AT: 'placed' })
    await expect(legacy.append(lead, id, 1, noise(30_000))).rejects.toThrow()
    await server.restart({ RECORDINGS_TEST_CRASH_AT: '' })
    await expectWhole(lead, id, [bytes])
  })

  test.for(['rights-checked', 'moved'])(
    'at the step %s of a simple upload leaves its recording, or nothing',
    async (step) => {
      const lead = await server.lead()
      await server.restart({ RECORDINGS_TEST_CRASH_AT: step })
      const form = new FormData()
      form.append('file', new Blob([noise(300_000)]), 'call.wav')
      form.append('call_log_id', lead.callLogId)
      const headers = { authorization: `Bearer ${server.tokens.telecaller}`, 'idempotency-key': `"${step}"` }
      const send = () => fetch(lead.recordings, { method: 'POST', body: form, headers })
      await expect(send()).rejects.toThrow()
      await server.restart({ RECORDINGS_TEST_CRASH_AT: '' })
      const count = step === 'rights-checked' ? 0 : 1
      const recordings = async () => (await jsonOf(await server.api('GET', lead.recordings))).recordings as unknown[]
      await expect.poll(async () => (await recordings()).length, { timeout: 10_000 }).toBe(count)
      await expect.poll(() => server.files('uploads')).toEqual([])
      const stored = async () =>
        (await server.files('recordings')).filter((file) => file.startsWith(`${lead.leadId}/`)).length
      expect(await stored()).toBe(count)
      // The client has had no answer, and asks again.
      const again = await send()
      expect([again.status, (await jsonOf(again)).size]).toEqual([200, 300_000])
      expect([(await recordings()).length, await stored()]).toEqual([1, 1])
    },
  )
})
