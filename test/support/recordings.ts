/** Recordings for tests of what comes after them: uploaded over tus in one request, as any other. */
import type { TestClient, TestLead } from './service.ts'
import { metadata, OFFSET_TYPE } from './tus.ts'

export interface TestRecording {
  id: string
  leadId: string
  callLogId: string
  /** Where it plays. */
  url: string
}

export async function record(
  service: TestClient,
  bytes: Uint8Array | string,
  { filename = 'call.wav', lead }: { filename?: string; lead?: TestLead } = {},
): Promise<TestRecording> {
  const { uploads, recordings, leadId, callLogId } = lead ?? (await service.lead())
  const body = Buffer.from(bytes)
  const res = await fetch(uploads, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${service.tokens.telecaller}`,
      'tus-resumable': '1.0.0',
      'upload-length': String(body.length),
      'upload-metadata': metadata({ filename, call_log_id: callLogId }),
      'content-type': OFFSET_TYPE,
    },
    body,
  })
  const id = res.headers.get('recording-id')
  if (res.status !== 201 || id === null) throw new Error(`the upload answered ${res.status}: ${await res.text()}`)
  return { id, leadId, callLogId, url: `${recordings}/${id}` }
}

/** Bytes that show their own offset: eight digits, again and again. */
export function offsets(size: number): Buffer {
  const bytes = Buffer.alloc(size + 8)
  for (let at = 0; at < size; at += 8) bytes.write(String(at).padStart(8, '0'), at, 'latin1')
  return bytes.subarray(0, size)
}
