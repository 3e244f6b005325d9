/**
 * tus by hand, for what a client library would hide.
 */
import { randomBytes } from 'node:crypto'
import { statSync } from 'node:fs'
import path from 'node:path'
import type { Service } from '../../src/service.ts'
import { isS3 } from './home.ts'

const base64 = (text: string) => Buffer.from(text).toString('base64')

export const metadata = (values: Record<string, string>) =>
  Object.entries(values)
    .map(([key, value]) => `${key} ${base64(value)}`)
    .join(',')

export const OFFSET_TYPE = 'application/offset+octet-stream'

/** Bytes that no compressor and no sniffer makes anything of. */
export const noise = (bytes: number): Buffer => randomBytes(bytes)

/**
 * Bytes of an upload that have come: in its file, where they are within a quarter of a second; over a bucket, in the memory
 * of a service in this process.
 */
export const stagedBytes = ({ dir, service }: { dir: string; service?: Service }, url: string): number =>
  isS3
    ? (service?.ownership.remembered(path.basename(url))?.staged.sizeAtHand() ?? 0)
    : (statSync(path.join(dir, 'uploads', path.basename(url)), { throwIfNoEntry: false })?.size ?? 0)

export interface TusClient {
  create(url: string, headers: Record<string, string>, body?: Uint8Array): Promise<Response>
  /** Creates an upload of `length` bytes for a call and gives its address. */
  begin(lead: { uploads: string; callLogId: string }, length: number, filename?: string): Promise<string>
  patch(url: string, offset: number, body: Uint8Array, headers?: Record<string, string>): Promise<Response>
  head(url: string): Promise<Response>
  terminate(url: string): Promise<Response>
}

export function tusClient(token: string): TusClient {
  const common = { 'tus-resumable': '1.0.0', authorization: `Bearer ${token}` }
  const create: TusClient['create'] = (url, headers, body) =>
    fetch(url, {
      method: 'POST',
      headers: { ...common, ...(body && { 'content-type': OFFSET_TYPE }), ...headers },
      ...(body && { body: Buffer.from(body) }),
    })
  return {
    create,
    async begin(lead, length, filename = 'call.wav') {
      const res = await create(lead.uploads, {
        'upload-length': String(length),
        'upload-metadata': metadata({ filename, call_log_id: lead.callLogId }),
      })
      if (res.status !== 201) throw new Error(`creation answered ${res.status}: ${await res.text()}`)
      return res.headers.get('location') as string
    },
    patch: (url, offset, body, headers = {}) =>
      fetch(url, {
        method: 'PATCH',
        headers: { ...common, 'upload-offset': String(offset), 'content-type': OFFSET_TYPE, ...headers },
        body: Buffer.from(body),
      }),
    head: (url) => fetch(url, { method: 'HEAD', headers: common }),
    terminate: (url) => fetch(url, { method: 'DELETE', headers: common }),
  }
}
