/**
 * The clients in the field: their code as it was handed out with the first service, but for the address.
 */
import { describe, expect, test } from 'vitest'
import { fixtureBytes } from './support/fixtures.ts'
import { jsonOf, startService } from './support/service.ts'

const harness = await startService()
const token = harness.tokens.telecaller

/** Reads a file as a legacy phone has it: one character for each byte, which is what `btoa` takes. */
const binaryString = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1')

async function uploadInChunks(recordings: string, fileData: string, callLogId: string, chunkSize: number) {
  const totalChunks = Math.ceil(fileData.length / chunkSize)
  // 1. Initialize upload
  const initResponse = await fetch(recordings, {
    method: 'POST',
    headers: {
      Authorization: `Bearer ${token}`,
      'Content-Type': 'application/json',
    },
    body: JSON.stringify({
      action: 'init',
      filename: 'recording.aac',
      call_log_id: callLogId,
    }),
  })
  const { upload_id } = (await initResponse.json()) as { upload_id: string }

  // 2. Upload chunks (1MB each)
  for (let i = 0; i < totalChunks; i++) {
    const chunk = fileData.slice(i * chunkSize, (i + 1) * chunkSize)

    await fetch(recordings, {
      method: 'POST',
      headers: {
        Authorization: `Bearer ${token}`,
        'Content-Type': 'application/json',
      },
      body: JSON.stringify({
        action: 'append',
        upload_id: upload_id,
        chunk_index: i,
        chunk: btoa(chunk), // Base64 encode
      }),
    })
  }

  // 3. Finalize upload
  return fetch(recordings, {
    method: 'POST',
    headers: {
      Authorization: `Bearer ${token}`,
      'Content-Type': 'application/json',
    },
    body: JSON.stringify({
      action: 'finalize',
      upload_id: upload_id,
      total_chunks: totalChunks,
      call_log_id: callLogId,
    }),
  })
}

async function uploadSimply(recordings: string, audioFile: File, callLogId: string) {
  const formData = new FormData()
  formData.append('file', audioFile)
  formData.append('call_log_id', callLogId)

  return fetch(recordings, {
    method: 'POST',
    headers: {
      Authorization: `Bearer ${token}`,
    },
    body: formData,
  })
}

async function play(recordings: string, recordingId: string) {
  return fetch(`${recordings}/${recordingId}`, {
    headers: {
      Authorization: `Bearer ${token}`,
      Range: 'bytes=0-1048575',
    },
  })
}

describe("the first clients' code", () => {
  test('uploads in chunks of Base64, and plays', async () => {
    const lead = await harness.lead()
    const bytes = Buffer.concat(Array.from({ length: 40 }, () => fixtureBytes('tone.aac')))
    const res = await uploadInChunks(lead.recordings, binaryString(bytes), lead.callLogId, 100_000)
    expect(res.status).toBe(200)
    const recording = await jsonOf(res)
    expect(recording).toMatchObject({
      call_log_id: lead.callLogId,
      filename: 'recording.aac',
      size: bytes.length,
      content_type: 'audio/aac',
      media_check: 'ok',
    })
    const played = await play(lead.recordings, recording.id as string)
    expect(played.status).toBe(206)
    expect(played.headers.get('content-range')).toBe(`bytes 0-${bytes.length - 1}/${bytes.length}`)
    expect(played.headers.get('content-type')).toBe('audio/aac')
    expect(Buffer.from(await played.arrayBuffer())).toEqual(bytes)
  })

  test('uploads in one form, and plays', async () => {
    const lead = await harness.lead()
    const bytes = fixtureBytes('tone.m4a')
    const res = await uploadSimply(lead.recordings, new File([bytes], 'Anruf ä.m4a'), lead.callLogId)
    expect(res.status).toBe(200)
    const recording = await jsonOf(res)
    expect(recording).toMatchObject({ call_log_id: lead.callLogId, filename: 'Anruf ä.m4a', size: bytes.length })
    const played = await play(lead.recordings, recording.id as string)
    expect(Buffer.from(await played.arrayBuffer())).toEqual(bytes)
  })
})
