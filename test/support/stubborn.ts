/**
 * Clients that go on whatever becomes of the server, one for each door, and that complain when a promise is broken: an
 * offset that goes back, a chunk that was taken and is missing, an upload that is gone.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestClient, TestLead } from './service.ts'
import { metadata, OFFSET_TYPE } from './tus.ts'

const RETRY_MS = 40

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

export interface Answer {
  status: number
  headers: Record<string, string | undefined>
  json(): Record<string, unknown>
  text: string
}

export interface Sending {
  headers?: Record<string, string>
  body?: Buffer
  /** Sends the body in pieces of this size with a pause in between, as a phone does. */
  pieceBytes?: number
}

/** One request on a connection of its own; rejects when the line breaks. */
export async function send(method: string, url: string, token: string, { headers, body, pieceBytes }: Sending = {}) {
  const request = httpRequest(url, {
    method,
    agent: false,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body && { 'content-length': String(body.length) }),
      ...headers,
    },
  })
  const answered = once(request, 'response') as Promise<[IncomingMessage]>
  answered.catch(() => {})
  if (body && pieceBytes) {
    for (let at = 0; at < body.length && !request.destroyed; at += pieceBytes) {
      request.write(body.subarray(at, at + pieceBytes))
      await sleep(1)
    }
  } else if (body) request.write(body)
  request.end()
  const [response] = await answered
  const parts: Buffer[] = []
  for await (const part of response) parts.push(part as Buffer)
  const text = Buffer.concat(parts).toString()
  return {
    status: response.statusCode as number,
    headers: response.headers as Record<string, string | undefined>,
    text,
    json: () => JSON.parse(text) as Record<string, unknown>,
  } satisfies Answer
}

/** What clients have heard that sent them back, and how often. */
export type Heard = Record<string, number>

const note = (heard: Heard | undefined, what: string | number) => {
  if (heard) heard[what] = (heard[what] ?? 0) + 1
}

/** Tries until there is an answer that is not "later". */
async function insist(heard: Heard | undefined, attempt: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    const answer = await attempt().catch(() => undefined)
    if (answer && answer.status < 500 && answer.status !== 423) return answer
    expectLater(heard, answer)
    await sleep(RETRY_MS)
  }
}

/**
 * Of what a client may try again later, this alone is said, and when; by a proxy also that it has reached no server.
 *
 * @param answer undefined when the line broke
 */
function expectLater(heard: Heard | undefined, answer: Answer | undefined): void {
  note(heard, answer?.status ?? 'broken lines')
  if (!answer) return
  const { headers } = answer
  const isByProxy = headers.server?.startsWith('nginx') && !headers['x-request-id']
  if (isByProxy) return void expectStatus(answer, 502, 504)
  expectStatus(answer, 423, 503, 507)
  if (!/^[1-9]\d*$/.test(headers['retry-after'] ?? '')) throw new Error(`${answer.status} without Retry-After`)
}

function expectStatus(answer: Answer, ...statuses: number[]): Answer {
  if (!statuses.includes(answer.status)) throw new Error(`${answer.status} instead of ${statuses}: ${answer.text}`)
  return answer
}

export interface Stored {
  recordingId: string
  leadId: string
  sha256: string
  size: number
}

export interface Errand {
  client: TestClient
  lead: TestLead
  bytes: Buffer
  /** Bytes in each PATCH or chunk. */
  stepBytes: number
  heard?: Heard
}

export async function storeByTus({ client, lead, bytes, stepBytes, heard }: Errand): Promise<Stored> {
  const token = client.tokens.telecaller
  const common = { 'tus-resumable': '1.0.0' }
  const created = await insist(heard, () =>
    send('POST', lead.uploads, token, {
      headers: {
        ...common,
        'upload-length': String(bytes.length),
        'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
      },
    }),
  )
  const url = expectStatus(created, 201).headers.location as string
  let acknowledged = 0
  const acknowledge = (answer: Answer) => {
    const offset = Number(answer.headers['upload-offset'])
    if (offset < acknowledged) throw new Error(`the offset went back from ${acknowledged} to ${offset}`)
    acknowledged = offset
    return answer.headers['recording-id']
  }
  for (;;) {
    const head = await insist(heard, () => send('HEAD', url, token, { headers: common }))
    const found = acknowledge(expectStatus(head, 200))
    if (acknowledged === bytes.length) {
      if (found === undefined) throw new Error('the full length was told before there was a recording')
      return { recordingId: found, leadId: lead.leadId, sha256: sha256(bytes), size: bytes.length }
    }
    // As long as the line holds, without asking.
    for (let broken = false; !broken && acknowledged < bytes.length; ) {
      const answer = await send('PATCH', url, token, {
        headers: { ...common, 'upload-offset': String(acknowledged), 'content-type': OFFSET_TYPE },
        body: bytes.subarray(acknowledged, acknowledged + stepBytes),
        pieceBytes: 16_384,
      }).catch(() => undefined)
      if (answer?.status === 204) acknowledge(answer)
      else if (answer === undefined || answer.status >= 423) {
        expectLater(heard, answer)
        broken = true
        await sleep(RETRY_MS)
      } else if (answer.status === 409) {
        note(heard, 409)
        broken = true
      } else expectStatus(answer, 204)
    }
  }
}

/** An upload by chunks, begun under a key. */
async function beginChunks({ client, lead, bytes, heard }: Errand) {
  const token = client.tokens.telecaller
  const post = (body: Record<string, unknown>, headers: Record<string, string> = {}) =>
    insist(heard, () =>
      send('POST', lead.recordings, token, {
        headers: { 'content-type': 'application/json', ...headers },
        body: Buffer.from(JSON.stringify(body)),
        pieceBytes: 16_384,
      }),
    )
  const begun = await post(
    { action: 'init', filename: 'call.wav', call_log_id: lead.callLogId },
    { 'idempotency-key': `"${crypto.randomUUID()}"` },
  )
  const uploadId = expectStatus(begun, 201).json().upload_id as string
  return {
    async append(index: number, chunk: Buffer) {
      const body = { action: 'append', upload_id: uploadId, chunk_index: index, chunk: chunk.toString('base64') }
      expectStatus(await post(body), 202)
    },
    finalize: (total: number) =>
      post({ action: 'finalize', upload_id: uploadId, total_chunks: total, call_log_id: lead.callLogId }),
    stored: (answer: Answer): Stored => ({
      recordingId: expectStatus(answer, 200).json().id as string,
      leadId: lead.leadId,
      sha256: sha256(bytes),
      size: bytes.length,
    }),
  }
}

export async function storeByChunks(errand: Errand): Promise<Stored> {
  const { bytes, stepBytes } = errand
  const upload = await beginChunks(errand)
  const total = Math.ceil(bytes.length / stepBytes)
  const taken = new Set<number>()
  const append = async (index: number) => {
    await upload.append(index, bytes.subarray(index * stepBytes, (index + 1) * stepBytes))
    taken.add(index)
  }
  // Neighbours change places, two are under way at once, one is left out at first.
  const order = Array.from({ length: total }, (_, i) => ((i ^ 1) < total ? i ^ 1 : i))
  const last = order.pop() as number
  const queue = [...order]
  const worker = async () => {
    for (let index = queue.shift(); index !== undefined; index = queue.shift()) await append(index)
  }
  await Promise.all([worker(), worker()])
  const early = await upload.finalize(total)
  const missing = expectStatus(early, 400).json().missing_chunks as number[]
  if (missing.some((index) => taken.has(index))) throw new Error(`chunks ${missing} were taken and are missing`)
  await append(last)
  return upload.stored(await upload.finalize(total))
}

/** The second half first; then the first, wrong and put right. */
export async function storeByReplacedChunks(errand: Errand): Promise<Stored> {
  const { bytes, stepBytes } = errand
  const upload = await beginChunks(errand)
  const total = Math.ceil(bytes.length / stepBytes)
  const chunkAt = (index: number) => bytes.subarray(index * stepBytes, (index + 1) * stepBytes)
  for (let index = total - 1; index > 0; index--) await upload.append(index, chunkAt(index))
  await upload.append(0, Buffer.alloc(1_000, 'x'))
  await upload.append(0, chunkAt(0))
  return upload.stored(await upload.finalize(total))
}

export async function storeByForm({ client, lead, bytes, heard }: Errand): Promise<Stored> {
  const boundary = 'stubborn'
  const field = (name: string, more = '') =>
    `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n`
  const body = Buffer.concat([
    Buffer.from(`${field('call_log_id')}${lead.callLogId}\r\n${field('file', '; filename="call.wav"')}`),
    bytes,
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ])
  const headers = {
    'content-type': `multipart/form-data; boundary=${boundary}`,
    'idempotency-key': `"${crypto.randomUUID()}"`,
  }
  const answer = await insist(heard, () =>
    send('POST', lead.recordings, client.tokens.telecaller, { headers, body, pieceBytes: 32_768 }),
  )
  const recording = expectStatus(answer, 200).json()
  return { recordingId: recording.id as string, leadId: lead.leadId, sha256: sha256(bytes), size: bytes.length }
}

export const DOORS = { tus: storeByTus, legacy: storeByChunks, simple: storeByForm } as const
