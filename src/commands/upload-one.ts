/**
 * One file on its way to a server, by tus: created under a key that is of its bytes and its call, so that whatever was sent of it
 * before, by this process or another, is gone on with, and what is there already is not sent again.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type DetailedError, Upload } from 'tus-js-client'
import { reprDigest } from '../http/repr-digest.ts'
import { sha256OfFile } from './backup-files.ts'

export interface UploadTo {
  /** Ends with `/`. */
  server: URL
  /** A token that is good now. */
  token(): Promise<string>
  /** Between attempts that bring nothing forward. */
  delaysMs: readonly number[]
}

export interface UploadOf {
  file: string
  leadId: string
  callLogId: string
}

export interface Uploaded {
  recordingId: string | undefined
  bytes: number
  /** It was there already: nothing was sent. */
  wasThere: boolean
}

/** What keeps a file from being stored. */
export class NotUploaded extends Error {
  override name = 'NotUploaded'
  /** To try again later may go well. */
  readonly passing: boolean
  /** It would be the same for all others. */
  readonly forAll: boolean
  readonly retryAfterMs: number

  constructor(message: string, { passing = false, forAll = false, retryAfterMs = 0 } = {}) {
    super(message)
    this.passing = passing
    this.forAll = forAll
    this.retryAfterMs = retryAfterMs
  }
}

/** Without a byte on its way, an attempt is given up. */
const SILENCE_MS = 90_000

/** Of a certificate, or of a server that speaks no TLS: it is the same at the next attempt. */
const UNTRUSTED = /CERT|UNABLE_TO_VERIFY|^ERR_(SSL|TLS)_/

const away = (error: unknown) => {
  const { code, message, cause } = error as NodeJS.ErrnoException
  const reason = code ?? (cause as NodeJS.ErrnoException | undefined)?.code ?? message
  if (UNTRUSTED.test(reason)) {
    const way = 'look at its address and its certificate; an authority of your own is named by NODE_EXTRA_CA_CERTS=FILE'
    return new NotUploaded(`the server can't be trusted (${reason}): ${way}`, { forAll: true })
  }
  return new NotUploaded(`the server does not answer (${reason})`, { passing: true, forAll: true })
}

const unreadable = ({ code, message }: NodeJS.ErrnoException) =>
  new NotUploaded(`it can't be read (${code ?? message})`)

/** What the server says; of a proxy's page, its status is enough. */
function refused(status: number, body: string, retryAfter: string | undefined): NotUploaded {
  const [first = ''] = body.trim().split(/\.?(?:\n|$)/)
  const said = first === '' || first.startsWith('<') ? '' : `: ${first.slice(0, 300)}`
  const passing = status >= 500 || [409, 423, 425, 429].includes(status)
  const retryAfterMs = /^\d{1,3}$/.test(retryAfter ?? '') ? Number(retryAfter) * 1_000 : 0
  return new NotUploaded(`the server answers ${status}${said}`, { passing, forAll: status === 401, retryAfterMs })
}

/** Not of the name: the same call is not recorded twice since a file was renamed. */
const keyOf = ({ leadId, callLogId }: UploadOf, sha256: string) =>
  createHash('sha256').update(`${sha256} ${leadId} ${callLogId}`).digest('base64url')

const base64 = (text: string) => Buffer.from(text).toString('base64')

/** A request of which the answer is read whole. @throws NotUploaded where there is none */
async function ask(to: UploadTo, address: URL, method: string, headers: Record<string, string> = {}) {
  const options = { method, redirect: 'error', signal: AbortSignal.timeout(SILENCE_MS) } as const
  const authorization = { Authorization: `Bearer ${await to.token()}` }
  try {
    const response = await fetch(address, { ...options, headers: { ...authorization, ...headers } })
    return { status: response.status, headers: response.headers, body: await response.text() }
  } catch (error) {
    throw away(error)
  }
}

/** The recording of these bytes, where the call has one, under whatever file name. */
async function recordingOf(to: UploadTo, { leadId, callLogId }: UploadOf, sha256: string): Promise<string | undefined> {
  const address = new URL(`api/leads/${leadId}/recordings?call_log_id=${callLogId}&limit=200`, to.server)
  const { status, headers, body } = await ask(to, address, 'GET')
  if (status !== 200) throw refused(status, body, headers.get('retry-after') ?? undefined)
  const { recordings } = JSON.parse(body) as { recordings: { id: string; sha256: string }[] }
  return recordings.find((recording) => recording.sha256 === sha256)?.id
}

interface Created {
  address: string
  offset: number
  recordingId: string | undefined
}

async function create(to: UploadTo, of: UploadOf, size: number, sha256: string): Promise<Created> {
  const filename = path.basename(of.file)
  const endpoint = new URL(`api/leads/${of.leadId}/uploads`, to.server)
  const { status, headers, body } = await ask(to, endpoint, 'POST', {
    'Tus-Resumable': '1.0.0',
    'Upload-Length': String(size),
    'Upload-Metadata': `filename ${base64(filename)},call_log_id ${base64(of.callLogId)}`,
    'Idempotency-Key': `"${keyOf(of, sha256)}"`,
    'Repr-Digest': reprDigest(sha256),
  })
  const location = headers.get('location')
  if (status === 409 && body.includes('idempotency_conflict')) {
    const recordingId = await recordingOf(to, of, sha256)
    if (recordingId !== undefined) return { address: '', offset: size, recordingId }
    throw new NotUploaded('its bytes are on their way for this call under another file name: go on under that one')
  }
  if (status !== 201) throw refused(status, body, headers.get('retry-after') ?? undefined)
  if (location === null)
    throw new NotUploaded(`${to.server} is no server of this kind: it made no upload`, { forAll: true })
  const address = new URL(location, endpoint)
  if (endpoint.protocol === 'https:' && address.protocol !== 'https:') {
    throw new NotUploaded(
      `${to.server} names ${address.origin}, where login and recording would go in the clear: its proxy is to say X-Forwarded-Proto`,
      { forAll: true },
    )
  }
  return {
    address: address.href,
    offset: Number(headers.get('upload-offset') ?? 0),
    recordingId: headers.get('recording-id') ?? undefined,
  }
}

/** Goes on from where the server is. @returns the recording's id */
function send(to: UploadTo, file: string, address: string, onOffset: (offset: number) => void) {
  return new Promise<string | undefined>((resolve, reject) => {
    const silence = setTimeout(() => {
      // The upload stays, for the next attempt.
      void upload.abort()
      reject(new NotUploaded('the server takes no byte any more', { passing: true }))
    }, SILENCE_MS)
    let fault: NodeJS.ErrnoException | undefined
    const bytes = createReadStream(file, { highWaterMark: 256 * 1024 })
    bytes.once('error', (error) => {
      fault = error
    })
    const upload = new Upload(bytes as never, {
      uploadUrl: address,
      chunkSize: Number.POSITIVE_INFINITY,
      retryDelays: null,
      storeFingerprintForResuming: false,
      async onBeforeRequest(request) {
        request.setHeader('Authorization', `Bearer ${await to.token()}`)
      },
      onProgress(sent) {
        silence.refresh()
        onOffset(sent)
      },
      onError(error) {
        clearTimeout(silence)
        const { originalResponse, causingError } = error as DetailedError
        const cause = causingError ?? error
        if (fault) return reject(unreadable(fault))
        if (!originalResponse) return reject(cause instanceof NotUploaded ? cause : away(cause))
        const status = originalResponse.getStatus()
        reject(refused(status, originalResponse.getBody() ?? '', originalResponse.getHeader('Retry-After')))
      },
      onSuccess({ lastResponse }) {
        clearTimeout(silence)
        resolve(lastResponse.getHeader('Recording-Id'))
      },
    })
    upload.start()
  })
}

/**
 * Uploads the file, through faults that pass.
 *
 * @param onOffset how far it is
 * @throws NotUploaded
 */
export async function uploadOne(to: UploadTo, of: UploadOf, onOffset: (offset: number) => void): Promise<Uploaded> {
  const fail = (error: NodeJS.ErrnoException) => {
    throw unreadable(error)
  }
  const { size } = await stat(of.file).catch(fail)
  if (size === 0) throw new NotUploaded('it is empty')
  const sha256 = await sha256OfFile(of.file).catch(fail)
  let reached = -1
  for (let failures = 0; ; ) {
    try {
      const { address, offset, recordingId } = await create(to, of, size, sha256)
      onOffset(offset)
      if (offset === size) return { recordingId, bytes: size, wasThere: reached < 0 }
      if (offset > reached) failures = 0
      reached = offset
      return { recordingId: await send(to, of.file, address, onOffset), bytes: size, wasThere: false }
    } catch (error) {
      if (!(error instanceof NotUploaded)) throw error
      const delayMs = to.delaysMs[failures]
      if (!error.passing || delayMs === undefined) throw error
      failures += 1
      await sleep(Math.max(delayMs, error.retryAfterMs))
    }
  }
}
