/** What a server takes of memory, told by /proc of a process of its own. */
import { expect, test } from 'vitest'
import { base64, legacyClient } from '../support/legacy.ts'
import { startProcess } from '../support/process.ts'
import { connectTo } from '../support/raw.ts'
import { jsonOf } from '../support/service.ts'
import { noise } from '../support/tus.ts'

const MiB = 2 ** 20

test('a long file in one form stays under 250 MB', { timeout: 60_000 }, async () => {
  const server = await startProcess()
  const lead = await server.lead()
  const form = new FormData()
  form.append('file', new Blob(Array.from({ length: 300 }, () => noise(MiB))), 'call.wav')
  form.append('call_log_id', lead.callLogId)
  const headers = { authorization: `Bearer ${server.tokens.telecaller}` }
  const res = await fetch(lead.recordings, { method: 'POST', body: form, headers })
  expect((await jsonOf(res)).size).toBe(300 * MiB)
  expect((await server.memory()).peakBytes).toBeLessThan(250e6)
})

// Two threads that look into media are part of it, 26 MB each.
test('fifty legacy clients at once with chunks of 1 MiB stay under 320 MB', { timeout: 60_000 }, async () => {
  const server = await startProcess()
  const legacy = legacyClient(server)
  const lead = await server.lead()
  const chunk = base64(noise(MiB))
  await Promise.all(
    Array.from({ length: 50 }, async () => {
      const id = await legacy.begin(lead)
      for (let i = 0; i < 6; i++) expect((await legacy.append(lead, id, i, chunk)).status).toBe(202)
      expect((await jsonOf(await legacy.finalize(lead, id, 6))).size).toBe(6 * MiB)
    }),
  )
  // Slow ones: each has sent all but the last byte of its chunk, more than memory has room for.
  const slow = await Promise.all(
    Array.from({ length: 60 }, async () => {
      const id = await legacy.begin(lead)
      const body = JSON.stringify({ action: 'append', upload_id: id, chunk_index: 0, chunk })
      const connection = await connectTo(server.url, { Authorization: `Bearer ${server.tokens.telecaller}` })
      connection.head('POST', lead.recordings, {
        'Content-Type': 'application/json',
        'Content-Length': String(body.length),
      })
      connection.send(body.slice(0, -1))
      return { connection, last: body.slice(-1) }
    }),
  )
  // A fast one gets through meanwhile.
  const id = await legacy.begin(lead)
  expect((await legacy.append(lead, id, 0, chunk)).status).toBe(202)
  for (const { connection, last } of slow) connection.send(last)
  for (const { connection } of slow) {
    expect((await connection.answer()).status).toBe(202)
    connection.destroy()
  }
  expect((await server.memory()).peakBytes).toBeLessThan(320e6)
})
