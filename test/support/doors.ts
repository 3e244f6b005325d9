/** One file through each of the three doors, whole, as an app would send it. */
import { legacyClient } from './legacy.ts'
import type { TestClient, TestLead } from './service.ts'
import { metadata, OFFSET_TYPE } from './tus.ts'

export interface Taken {
  status: number
  recordingId: string | null
}

export const DOORS = ['tus', 'form', 'legacy'] as const

export async function sendThrough(
  door: (typeof DOORS)[number],
  client: TestClient,
  lead: TestLead,
  bytes: Buffer,
  filename: string,
): Promise<Taken> {
  if (door === 'tus') {
    const res = await fetch(lead.uploads, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${client.tokens.telecaller}`,
        'tus-resumable': '1.0.0',
        'upload-length': String(bytes.length),
        'upload-metadata': metadata({ filename, call_log_id: lead.callLogId }),
        'content-type': OFFSET_TYPE,
      },
      body: bytes as unknown as string,
    })
    return { status: res.status, recordingId: res.headers.get('recording-id') }
  }
  if (door === 'form') {
    const form = new FormData()
    form.append('call_log_id', lead.callLogId)
    form.append('file', new Blob([bytes as unknown as string]), filename)
    const res = await fetch(lead.recordings, {
      method: 'POST',
      headers: { authorization: `Bearer ${client.tokens.telecaller}` },
      body: form,
    })
    return { status: res.status, recordingId: await idIn(res) }
  }
  const legacy = legacyClient(client)
  const id = await legacy.begin(lead, { filename })
  const pieceBytes = 1024 * 1024
  const count = Math.ceil(bytes.length / pieceBytes)
  for (let index = 0; index < count; index++) {
    const res = await legacy.append(lead, id, index, bytes.subarray(index * pieceBytes, (index + 1) * pieceBytes))
    if (res.status !== 202) throw new Error(`a chunk was answered ${res.status}: ${await res.text()}`)
  }
  const res = await legacy.finalize(lead, id, count)
  return { status: res.status, recordingId: await idIn(res) }
}

async function idIn(res: Response): Promise<string | null> {
  const { id } = (await res.json()) as { id?: string }
  return id ?? null
}
