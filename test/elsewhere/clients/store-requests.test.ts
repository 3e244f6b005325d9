/** What an upload costs at the store, which bills by the request. */
import { beforeEach, describe, expect } from 'vitest'
import { inBucket, isS3 } from '../../support/home.ts'
import { runCommand } from '../../support/process.ts'
import { startS3 } from '../../support/s3.ts'
import { startService } from '../../support/service.ts'
import { faultyStore } from '../../support/store-faults.ts'
import { noise, tusClient } from '../../support/tus.ts'

const MIB = 2 ** 20
const store = isS3 ? await faultyStore((await startS3()).endpoint) : undefined
const harness = await startService(store && { env: { RECORDINGS_S3_ENDPOINT: store.endpoint } })
const tus = tusClient(harness.tokens.telecaller)

/** Requests since the test began, once those that go after the answer are over; without those of a sweep. */
async function asked(): Promise<Record<string, number>> {
  await harness.service.ingest.settled()
  const { list: _, ...counts } = { ...store?.counts }
  return counts
}

beforeEach(() => store?.forget())

describe('at the store', () => {
  inBucket('three PATCHes are three PUTs and one deletion: the last bytes go with the whole', async () => {
    const lead = await harness.lead()
    const bytes = noise(3 * MIB)
    const url = await tus.begin(lead, bytes.length)
    for (const at of [0, 1, 2]) {
      expect((await tus.patch(url, at * MIB, bytes.subarray(at * MIB, (at + 1) * MIB))).status).toBe(204)
    }
    expect(await asked()).toEqual({ put: 3, 'delete-many': 1 })
  })

  inBucket('that come after a start are two GETs more, for what the instance before has stored', async () => {
    const lead = await harness.lead()
    const bytes = noise(3_000)
    const url = await tus.begin(lead, bytes.length)
    await tus.patch(url, 0, bytes.subarray(0, 1_000))
    await tus.patch(url, 1_000, bytes.subarray(1_000, 2_000))
    await harness.restart()
    store?.forget()
    expect((await tus.patch(url, 2_000, bytes.subarray(2_000))).status).toBe(204)
    expect(await asked()).toEqual({ put: 1, get: 2, 'delete-many': 1 })
  })

  inBucket('what comes in one request is one PUT: a form, and an upload of one PATCH', async () => {
    const lead = await harness.lead()
    const bytes = noise(MIB)
    const form = new FormData()
    form.append('file', new Blob([Buffer.from(bytes)]), 'call.wav')
    form.append('call_log_id', lead.callLogId)
    const headers = { authorization: `Bearer ${harness.tokens.telecaller}` }
    expect((await fetch(lead.recordings, { method: 'POST', headers, body: form })).status).toBe(200)
    expect(await asked()).toEqual({ put: 1 })
    const url = await tus.begin(lead, bytes.length)
    expect((await tus.patch(url, 0, bytes)).status).toBe(204)
    expect(await asked()).toEqual({ put: 2 })
  })

  inBucket('that `verify` looks at are one GET each', async () => {
    const [lead, bytes] = [await harness.lead(), noise(1_000)]
    for (let n = 0; n < 2; n++) await tus.patch(await tus.begin(lead, bytes.length), 0, bytes)
    const recordings = (await harness.files('recordings')).length
    await asked()
    store?.forget()
    const env = { RECORDINGS_S3_ENDPOINT: store?.endpoint ?? '' }
    expect(await runCommand(['verify'], { dir: harness.dir, env })).toMatchObject({ code: 0 })
    expect(await asked()).toEqual({ get: recordings })
  })
})
