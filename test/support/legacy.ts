/**
 * The legacy door by hand: JSON actions, as the first clients send them.
 */
import type { TestClient } from './service.ts'

export interface LegacyLead {
  recordings: string
  callLogId: string
}

export const base64 = (bytes: Uint8Array | string): string => Buffer.from(bytes as string).toString('base64')

export type Fields = Record<string, unknown>

export function legacyClient({ api }: Pick<TestClient, 'api'>, token?: string) {
  const post = (lead: LegacyLead, body: unknown, headers: Record<string, string> = {}) =>
    api('POST', lead.recordings, { body, headers, ...(token !== undefined && { token }) })
  return {
    post,
    init: (lead: LegacyLead, more: Fields = {}, headers: Record<string, string> = {}) =>
      post(lead, { action: 'init', filename: 'call.aac', call_log_id: lead.callLogId, ...more }, headers),
    /** Begins an upload and gives its id. */
    async begin(lead: LegacyLead, more: Fields = {}): Promise<string> {
      const res = await this.init(lead, more)
      const json = (await res.json()) as { upload_id: string }
      if (res.status !== 201) throw new Error(`init answered ${res.status}: ${JSON.stringify(json)}`)
      return json.upload_id
    },
    append: (lead: LegacyLead, uploadId: string, index: unknown, chunk: Uint8Array | string) =>
      post(lead, {
        action: 'append',
        upload_id: uploadId,
        chunk_index: index,
        chunk: typeof chunk === 'string' ? chunk : base64(chunk),
      }),
    finalize: (lead: LegacyLead, uploadId: string, total: unknown, more: Fields = {}) =>
      post(lead, {
        action: 'finalize',
        upload_id: uploadId,
        total_chunks: total,
        call_log_id: lead.callLogId,
        ...more,
      }),
    cancel: (lead: LegacyLead, uploadId: string) => post(lead, { action: 'cancel', upload_id: uploadId }),
  }
}
