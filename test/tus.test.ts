import { createHash } from 'node:crypto'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { fixtureBytes } from './support/fixtures.ts'
import { refusedRecordings } from './support/hindered.ts'
import { isS3 } from './support/home.ts'
import { jsonOf, startService, type TestLead } from './support/service.ts'
import { metadata, noise, tusClient } from './support/tus.ts'

const harness = await startService()
const tus = tusClient(harness.tokens.telecaller)
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

describe('an upload by POST and PATCH', () => {
  test('becomes one recording with the bytes, the digest and the size that were sent', async () => {
    const lead = await harness.lead()
    const bytes = noise(300_000)
    const url = await tus.begin(lead, bytes.length, 'Anruf.WAV')
    const first = await tus.patch(url, 0, bytes.subarray(0, 100_000))
    expect(first.status).toBe(204)
    expect(first.headers.get('upload-offset')).toBe('100000')
    expect(first.headers.get('recording-id')).toBeNull()
    expect(first.headers.get('upload-expires')).not.toBeNull()

    const between = await tus.head(url)
    expect(between.headers.get('upload-offset')).toBe('100000')
    expect(between.headers.get('upload-length')).toBe('300000')

    const last = await tus.patch(url, 100_000, bytes.subarray(100_000))
    expect(last.status).toBe(204)
    expect(last.headers.get('upload-offset')).toBe('300000')
    const id = last.headers.get('recording-id')
    expect(last.headers.get('content-location')).toBe(`${lead.recordings}/${id}`)

    const details = await jsonOf(await harness.api('GET', `${lead.recordings}/${id}/details`))
    expect(details).toMatchObject({
      id,
      lead_id: lead.leadId,
      call_log_id: lead.callLogId,
      telecaller_id: 'telecaller-a',
      filename: 'Anruf.WAV',
      size: 300_000,
      sha256: sha256(bytes),
      media_check: 'unrecognised',
      content_type: 'audio/wav',
      duration_seconds: null,
      url: `${lead.recordings}/${id}`,
    })
    expect(details.path).toMatch(new RegExp(`^${lead.leadId}/${lead.callLogId}_\\d{8}T\\d{6}Z_[0-9a-f]{12}\\.wav$`))
    await expect.poll(() => harness.files('uploads')).toEqual([])

    const after = await tus.head(url)
    expect(after.status).toBe(200)
    expect(after.headers.get('upload-offset')).toBe('300000')
    expect(after.headers.get('recording-id')).toBe(id)
  })

  test('is refused at creation when it can never become a recording', async () => {
    const lead = await harness.lead()
    const good = { filename: 'call.wav', call_log_id: lead.callLogId }
    const create = (values: Record<string, string>, length = '10') =>
      tus.create(lead.uploads, { 'upload-length': length, 'upload-metadata': metadata(values) })
    expect((await create({ call_log_id: lead.callLogId })).status).toBe(400)
    expect((await create({ filename: 'call.wav' })).status).toBe(400)
    expect((await create({ ...good, filename: 'notes.txt' })).status).toBe(415)
    expect((await create({ ...good, call_log_id: 'unknown' })).status).toBe(404)
    expect((await create(good, '0')).status).toBe(400)
    expect((await create(good, String(2 ** 31))).status).toBe(413)
    expect((await create(good)).status).toBe(201)
  })
})

describe('a finish that fails', () => {
  /** Nothing of the lead's can be stored as long as a file lies where its folder should be; in a bucket there are no folders. */
  async function blocked() {
    const lead = await harness.lead()
    if (isS3) return { lead, unblock: await refusedRecordings(harness) }
    const folder = path.join(harness.dir, 'recordings', lead.leadId)
    await mkdir(path.dirname(folder), { recursive: true })
    await writeFile(folder, '')
    return { lead, unblock: () => rm(folder) }
  }
  const recordingsOf = async (lead: TestLead) =>
    (await jsonOf(await harness.api('GET', lead.recordings))).recordings as { id: string; sha256: string }[]
  const named = (lead: TestLead) => ({
    'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
  })
  const bytes = noise(1_000)

  test('is 503 for a PATCH and for HEAD, and is made good by the next one', async () => {
    const { lead, unblock } = await blocked()
    const url = await tus.begin(lead, bytes.length)
    const last = await tus.patch(url, 0, bytes)
    expect([last.status, last.headers.get('retry-after')]).toEqual([503, '2'])
    const head = await tus.head(url)
    expect([head.status, head.headers.get('upload-offset'), head.headers.get('retry-after')]).toEqual([503, null, '2'])
    await unblock()
    const after = await tus.head(url)
    const [recording, ...others] = await recordingsOf(lead)
    expect(others).toEqual([])
    expect([after.status, after.headers.get('upload-offset')]).toEqual([200, '1000'])
    expect(after.headers.get('recording-id')).toBe(recording?.id)
    expect(recording?.sha256).toBe(sha256(bytes))
  })

  test('after the bytes have moved goes on from there', async () => {
    const lead = await harness.lead()
    const audio = fixtureBytes('tone.m4a') // whose index is at its end
    const url = await tus.begin(lead, audio.length, 'tone.m4a')
    const allow = await refusedRecordings(harness)
    expect((await tus.patch(url, 0, audio)).status).toBe(503)
    expect(await harness.files('uploads')).not.toContain(path.basename(url))
    expect((await tus.head(url)).status).toBe(503)
    await allow()
    expect((await tus.head(url)).headers.get('upload-offset')).toBe(String(audio.length))
    const [recording] = await recordingsOf(lead)
    expect(recording).toMatchObject({
      sha256: sha256(audio),
      duration_seconds: expect.closeTo(2.4, 1),
      media_check: 'ok',
    })
  })

  test('does not make a creation with upload fail, which would be made twice: the client finds its upload', async () => {
    const { lead, unblock } = await blocked()
    const made = await tus.create(lead.uploads, { 'upload-length': '1000', ...named(lead) }, bytes)
    expect([made.status, made.headers.get('upload-offset')]).toEqual([201, '0'])
    expect(made.headers.get('recording-id')).toBeNull()
    const url = made.headers.get('location') as string
    expect((await tus.patch(url, 0, bytes)).status).toBe(503)
    await unblock()
    const again = await tus.patch(url, 0, bytes)
    expect([again.status, again.headers.get('upload-offset')]).toEqual([409, '1000'])
    expect(await recordingsOf(lead)).toHaveLength(1)
  })

  test('is 503 for a final upload, which may be asked for again', async () => {
    const { lead, unblock } = await blocked()
    const promisedBytes = harness.service.space.reservedBytes
    const parts = [bytes.subarray(0, 300), bytes.subarray(300)]
    const urls: string[] = []
    for (const part of parts) {
      const made = await tus.create(
        lead.uploads,
        { 'upload-length': String(part.length), 'upload-concat': 'partial' },
        part,
      )
      urls.push(made.headers.get('location') as string)
    }
    const final = () => tus.create(lead.uploads, { 'upload-concat': `final;${urls.join(' ')}`, ...named(lead) })
    const failed = await final()
    expect([failed.status, failed.headers.get('retry-after')]).toEqual([503, '2'])
    await unblock()
    const done = await final()
    expect(done.status).toBe(201)
    expect(await recordingsOf(lead)).toMatchObject([{ id: done.headers.get('recording-id'), sha256: sha256(bytes) }])
    await expect.poll(() => harness.files('uploads')).toEqual([])
    expect(harness.service.space.reservedBytes).toBe(promisedBytes)
  })
})

test('the parts of an upload count as open ones, and the whole needs no place of its own', async () => {
  const small = await startService({ env: { RECORDINGS_MAX_UPLOADS_PER_CALLER: '4' } })
  const client = tusClient(small.tokens.telecaller)
  const lead = await small.lead()
  const partial = () => client.create(lead.uploads, { 'upload-length': '10', 'upload-concat': 'partial' }, noise(10))
  const urls: string[] = []
  for (let i = 0; i < 4; i++) urls.push((await partial()).headers.get('location') as string)
  expect((await partial()).status).toBe(503)
  const final = await client.create(lead.uploads, {
    'upload-concat': `final;${urls.join(' ')}`,
    'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
  })
  expect(final.status).toBe(201)
  expect((await partial()).status).toBe(201)
})
