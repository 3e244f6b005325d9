/** A form that is sent again to another instance, since the first one could not reach the store. */
import { expect } from 'vitest'
import { homeOf, inBucket } from '../../support/home.ts'
import { failingMoves, handlesOf, jsonOf, startService, type TestService } from '../../support/service.ts'
import { noise } from '../../support/tus.ts'

const a = await startService()
const b = await startService({ env: { RECORDINGS_DATA_DIR: a.dir, ...(await homeOf(a.dir)) } })

function send(to: TestService, leadId: string, callLogId: string, bytes: Buffer) {
  const form = new FormData()
  form.append('file', new Blob([Buffer.from(bytes)]), 'call.wav')
  form.append('call_log_id', callLogId)
  return fetch(`${to.url}/api/leads/${leadId}/recordings`, {
    method: 'POST',
    headers: { authorization: `Bearer ${a.tokens.telecaller}`, 'idempotency-key': '"the same"' },
    body: form,
  })
}

inBucket(
  'is told of the recording that the first one makes in the moment when the repeat would begin anew',
  async () => {
    const { leadId, callLogId, recordings } = await a.lead()
    const bytes = noise(1_000)
    const mend = failingMoves(a.service, 'before')
    const handles = handlesOf(a.service)
    const { sync } = handles
    handles.sync = () => Promise.reject(Object.assign(new Error('the store fails'), { code: 'EIO' }))
    expect((await send(a, leadId, callLogId, bytes)).status).toBe(503)
    handles.sync = sync
    mend()
    const { ingest } = b.service
    const { cancel } = ingest
    let isAsked = false
    ingest.cancel = async (id) => {
      isAsked = true
      await a.service.ingest.finish(id)
      return cancel(id)
    }
    const again = await send(b, leadId, callLogId, bytes)
    expect([again.status, isAsked]).toEqual([200, true])
    const { id } = await jsonOf(again)
    expect((await jsonOf(await a.api('GET', recordings))).recordings).toEqual([expect.objectContaining({ id })])
  },
)
