/** A database that another process keeps locked: each door lets its client wait for it once, 4 s, and tells it 503. */
import { eq } from 'drizzle-orm'
import { expect, test } from 'vitest'
import { uploads } from '../../src/db/schema.ts'
import { lockedTables } from '../support/hindered.ts'
import { legacyClient } from '../support/legacy.ts'
import { failingMoves, startService, type TestLead } from '../support/service.ts'
import { tablesOf } from '../support/tables.ts'
import { noise, tusClient } from '../support/tus.ts'

const harness = await startService()
const { telecaller } = harness.tokens
const tus = tusClient(telecaller)
const legacy = legacyClient(harness)
const bytes = noise(2_000)

/** Asks while the database is locked; gives the status and how many writes were waited for in vain, each for 4 s. */
async function locked(ask: () => Promise<Response>): Promise<{ status: number; waits: number }> {
  const unlock = await lockedTables(harness)
  const { db } = harness.service
  const { write } = db
  let waits = 0
  db.write = (...statements) =>
    write(...statements).catch((error) => {
      waits += 1
      throw error
    })
  try {
    const { status } = await ask()
    return { status, waits }
  } finally {
    db.write = write
    await unlock()
  }
}

/** A form that is half sent when it resolves; ends with what `end` gives. */
async function halfSent(lead: TestLead) {
  const going = Promise.withResolvers<void>()
  const head = `--x\r\nContent-Disposition: form-data; name="file"; filename="call.wav"\r\n\r\n`
  const tail = `\r\n--x\r\nContent-Disposition: form-data; name="call_log_id"\r\n\r\n${lead.callLogId}\r\n--x--\r\n`
  async function* body() {
    yield Buffer.from(head)
    yield bytes
    await going.promise
    yield Buffer.from(tail)
  }
  const answer = fetch(lead.recordings, {
    method: 'POST',
    headers: { authorization: `Bearer ${telecaller}`, 'content-type': 'multipart/form-data; boundary=x' },
    body: ReadableStream.from(body()),
    duplex: 'half',
  } as RequestInit)
  const begun = () => tablesOf(harness).select().from(uploads).where(eq(uploads.leadId, lead.leadId)).all()
  await expect.poll(async () => begun(), { timeout: 10_000 }).toHaveLength(1)
  return () => {
    going.resolve()
    return answer
  }
}

const REQUESTS: Record<string, (lead: TestLead) => Promise<() => Promise<Response>>> = {
  'the last PATCH': async (lead) => {
    const url = await tus.begin(lead, bytes.length)
    return () => tus.patch(url, 0, bytes)
  },
  'a HEAD of what is whole': async (lead) => {
    const url = await tus.begin(lead, bytes.length)
    const mend = failingMoves(harness.service, 'before')
    expect((await tus.patch(url, 0, bytes)).status).toBe(503)
    mend()
    return () => tus.head(url)
  },
  'a finalize': async (lead) => {
    const id = await legacy.begin(lead)
    await legacy.append(lead, id, 0, bytes)
    return () => legacy.finalize(lead, id, 1)
  },
  'the end of a form': halfSent,
}

test.for(Object.keys(REQUESTS))('%s waits for it once', { timeout: 30_000 }, async (name) => {
  const lead = await harness.lead()
  const ask = await (REQUESTS[name] as (typeof REQUESTS)[string])(lead)
  expect(await locked(ask)).toEqual({ status: 503, waits: 1 })
})

test('a form that could not be ended then is ended when the database answers again', { timeout: 30_000 }, async () => {
  const lead = await harness.lead()
  const { status } = await locked(await halfSent(lead))
  expect(status).toBe(503)
  await harness.service.sweep.run()
  const { uploadTerminated } = harness.service.events.counters
  expect(uploadTerminated).toBeGreaterThan(0)
  expect((await harness.api('GET', lead.recordings).then((res) => res.json())) as object).toMatchObject({
    recordings: [],
  })
})
