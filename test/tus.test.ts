import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { jsonOf, startService } from './support/service.ts'
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
    expect(await harness.files('uploads')).toEqual([])

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
