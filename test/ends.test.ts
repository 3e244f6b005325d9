import { eq } from 'drizzle-orm'
import { describe, expect, test } from 'vitest'
import { callLogs, leads, recordings } from '../src/db/schema.ts'
import type { Staged } from '../src/storage/staging.ts'
import { legacyClient } from './support/legacy.ts'
import { failingMoves, handlesOf, jsonOf, startService, type TestLead } from './support/service.ts'
import { asStatement, tablesOf } from './support/tables.ts'
import { noise, tusClient } from './support/tus.ts'

const harness = await startService({ env: { RECORDINGS_MAX_UPLOADS_PER_CALLER: '1000' } })
const { telecaller, other, crm } = harness.tokens
const legacy = legacyClient(harness)
const tus = tusClient(telecaller)
const bytes = noise(2_000)

const recordingsOf = async (lead: TestLead) =>
  (await jsonOf(await harness.api('GET', lead.recordings, { token: crm }))).recordings as Record<string, unknown>[]
const giveTo = (lead: TestLead, telecaller_id: string) =>
  harness.api('PUT', `/api/leads/${lead.leadId}`, { token: crm, body: { telecaller_id } })
const idOf = (url: string) => url.split('/').pop() as string
const codeOf = async (res: Response) => (await jsonOf(res)).code

/** Runs `meanwhile` while a finish stands just before or behind the move of its bytes, and gives both answers. */
async function beside<A, B>(
  when: 'before' | 'behind',
  finishing: () => Promise<A>,
  meanwhile: () => Promise<B>,
): Promise<[A, B]> {
  const handles = handlesOf(harness.service)
  const { moveTo } = handles
  const started = Promise.withResolvers<void>()
  const done = Promise.withResolvers<void>()
  handles.moveTo = async function (this: Staged, key) {
    if (when === 'behind') await moveTo.call(this, key)
    started.resolve()
    await done.promise
    if (when === 'before') await moveTo.call(this, key)
  }
  try {
    const finished = finishing()
    await started.promise
    handles.moveTo = moveTo
    const answer = await meanwhile()
    done.resolve()
    return [await finished, answer]
  } finally {
    handles.moveTo = moveTo
    done.resolve()
  }
}

/** An upload by each door that lacks nothing but its finish. */
const DOORS = {
  tus: async (lead: TestLead) => {
    const url = await tus.begin(lead, bytes.length)
    return { id: idOf(url), finish: () => tus.patch(url, 0, bytes) }
  },
  legacy: async (lead: TestLead) => {
    const id = await legacy.begin(lead)
    await legacy.append(lead, id, 0, bytes)
    return { id, finish: () => legacy.finalize(lead, id, 1) }
  },
  simple: async (lead: TestLead) => {
    const form = new FormData()
    form.append('call_log_id', lead.callLogId)
    form.append('file', new Blob([new Uint8Array(bytes)]), 'call.wav')
    const headers = { authorization: `Bearer ${telecaller}` }
    return { id: undefined, finish: () => fetch(lead.recordings, { method: 'POST', headers, body: form }) }
  },
}
const DOOR_NAMES = ['tus', 'legacy', 'simple'] as const

describe('an upload that is just being finished', () => {
  test.for(['before', 'behind'] as const)('is not cancelled any more: 409 %s the move of its bytes', async (when) => {
    const lead = await harness.lead()
    const { id, finish } = await DOORS.legacy(lead)
    const [finalized, cancelled] = await beside(when, finish, () => legacy.cancel(lead, id))
    expect([finalized.status, cancelled.status, await codeOf(cancelled)]).toEqual([200, 409, 'upload_closed'])
    expect((await legacy.finalize(lead, id, 1)).status).toBe(200)
    expect(await recordingsOf(lead)).toHaveLength(1)
  })

  test.for(['tus', 'legacy'] as const)(
    'is not terminated any more, and can be once it is finished: %s',
    async (door) => {
      const lead = await harness.lead()
      const { id, finish } = await DOORS[door](lead)
      const url = `${lead.uploads}/${id}`
      const [finished, terminated] = await beside('before', finish, () => tus.terminate(url))
      expect(finished.ok).toBe(true)
      expect(terminated.status).toBe(409)
      expect((await tus.terminate(url)).status).toBe(204)
      expect((await tus.head(url)).status).toBe(410)
      const [recording] = await recordingsOf(lead)
      expect(recording?.size).toBe(bytes.length)
    },
  )

  test('hears 409 when a DELETE over tus comes between its last byte and its finish', async () => {
    const lead = await harness.lead()
    const url = await tus.begin(lead, bytes.length)
    const { ingest } = harness.service
    const { finish } = ingest
    let terminated: Response | undefined
    ingest.finish = async (id) => {
      ingest.finish = finish
      terminated = await tus.terminate(url)
      return finish(id)
    }
    const patched = await tus.patch(url, 0, bytes)
    expect(terminated?.status).toBe(204)
    expect([patched.status, await patched.text()]).toEqual([409, expect.stringMatching(/^upload_closed: /)])
    expect((await tus.head(url)).status).toBe(410)
    expect(await recordingsOf(lead)).toEqual([])
  })

  test('takes no chunk any more', async () => {
    const lead = await harness.lead()
    const { id, finish } = await DOORS.legacy(lead)
    const [finalized, appended] = await beside('before', finish, () => legacy.append(lead, id, 1, 'QUJD'))
    expect([finalized.status, appended.status]).toEqual([200, 409])
  })

  test('can be cancelled when its finish has failed', async () => {
    const lead = await harness.lead()
    const { id, finish } = await DOORS.legacy(lead)
    const mend = failingMoves(harness.service)
    expect((await finish()).status).toBe(503)
    mend()
    const files = async () => (await harness.files('recordings')).filter((file) => file.startsWith(`${lead.leadId}/`))
    // A list of a bucket may be late.
    await expect.poll(files).toHaveLength(1)
    expect((await legacy.cancel(lead, id)).status).toBe(200)
    await expect.poll(files).toEqual([])
    expect((await finish()).status).toBe(409)
    expect(await recordingsOf(lead)).toEqual([])
  })

  test.for(DOOR_NAMES)('is refused with 403 when its lead moves meanwhile: %s', async (door) => {
    const lead = await harness.lead()
    const { finish } = await DOORS[door](lead)
    const [finished] = await beside('behind', finish, async () => {
      expect((await giveTo(lead, 'telecaller-b')).status).toBe(200)
    })
    expect(finished.status).toBe(403)
    expect(await recordingsOf(lead)).toEqual([])
  })

  test.for(DOOR_NAMES)('is refused with 404 when its call moves to another lead meanwhile: %s', async (door) => {
    const lead = await harness.lead()
    const elsewhere = await harness.lead()
    const { finish } = await DOORS[door](lead)
    const { db } = harness.service
    const move = asStatement((orm) =>
      orm.update(callLogs).set({ leadId: elsewhere.leadId }).where(eq(callLogs.id, lead.callLogId)),
    )
    const [finished] = await beside('behind', finish, () => db.write(move))
    expect(finished.status).toBe(404)
    expect(await recordingsOf(lead)).toEqual([])
  })

  test("by the CRM becomes the recording of the lead's telecaller of that moment", async () => {
    const lead = await harness.lead()
    const byCrm = tusClient(crm)
    const url = await byCrm.begin(lead, bytes.length)
    const [finished] = await beside(
      'behind',
      () => byCrm.patch(url, 0, bytes),
      () => giveTo(lead, 'telecaller-b'),
    )
    expect(finished.status).toBe(204)
    expect(await recordingsOf(lead)).toMatchObject([{ telecaller_id: 'telecaller-b' }])
  })
})

test('cancel and finalize at once: one succeeds, the other hears 409, and there is a recording or none', async () => {
  for (let i = 0; i < 30; i++) {
    const lead = await harness.lead()
    const { id, finish } = await DOORS.legacy(lead)
    const cancel = () => legacy.cancel(lead, id)
    const answers = await Promise.all(i % 2 ? [finish(), cancel()] : [cancel(), finish()])
    const [finalized, cancelled] = (i % 2 ? answers : answers.reverse()).map(({ status }) => status)
    expect([finalized, cancelled].sort()).toEqual([200, 409])
    expect(await recordingsOf(lead)).toHaveLength(finalized === 200 ? 1 : 0)
    expect((await finish()).status).toBe(finalized)
  }
})

test('two that finalize at once for different calls do not both get their way: the second hears what the first said', async () => {
  const lead = await harness.lead()
  const second = `second-${lead.callLogId}`
  await harness.api('PUT', `/api/leads/${lead.leadId}/call-logs/${second}`, { token: crm, body: {} })
  for (let i = 0; i < 10; i++) {
    const id = await legacy.begin(lead, { call_log_id: undefined })
    await legacy.append(lead, id, 0, bytes)
    const asked = [lead.callLogId, second]
    const answers = await Promise.all(asked.map((call_log_id) => legacy.finalize(lead, id, 1, { call_log_id })))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 400])
    const winner = answers.findIndex(({ status }) => status === 200)
    expect((await jsonOf(answers[winner] as Response)).call_log_id).toBe(asked[winner])
  }
})

/** The lead goes to another telecaller between the look at its owner and the next write. */
function moveBeforeNextWrite({ leadId }: TestLead): void {
  const { db } = harness.service
  const { write } = db
  db.write = async (...statements) => {
    db.write = write
    await write(
      asStatement((orm) => orm.update(leads).set({ telecallerId: 'telecaller-b' }).where(eq(leads.id, leadId))),
    )
    return write(...statements)
  }
}

test('a creation beside the move of its lead is refused, or comes before it', async () => {
  const lead = await harness.lead()
  moveBeforeNextWrite(lead)
  expect((await legacy.init(lead)).status).toBe(403)
  const mine = await jsonOf(await legacyClient(harness, other).init(lead))
  expect(mine.upload_id).toBeTypeOf('string')
})

test('a recording deleted twice at once is deleted once: 204, then 404', async () => {
  for (let i = 0; i < 10; i++) {
    const lead = await harness.lead()
    const { finish } = await DOORS.legacy(lead)
    const id = (await jsonOf(await finish())).id as string
    const answers = await Promise.all([1, 2, 3].map(() => harness.api('DELETE', `${lead.recordings}/${id}`)))
    expect(answers.map(({ status }) => status).sort()).toEqual([204, 404, 404])
  }
})

test('a recording whose lead moves while it is deleted stays', async () => {
  const lead = await harness.lead()
  const { finish } = await DOORS.legacy(lead)
  const id = (await jsonOf(await finish())).id as string
  moveBeforeNextWrite(lead)
  expect((await harness.api('DELETE', `${lead.recordings}/${id}`)).status).toBe(403)
  expect(await tablesOf(harness).select().from(recordings).where(eq(recordings.id, id)).all()).toHaveLength(1)
})
