/**
 * S3's protocol, by its SDK: the one file that knows it. It is loaded only where a store is configured.
 *
 * Every request is tried three times. Quirks of stores that are not AWS are handled here: Swift knows no checksums
 * but Content-MD5, and no `If-None-Match` on a PUT, which nothing here needs.
 */
import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import type * as Sdk from '@aws-sdk/client-s3'
import type { Config } from '../../config/config.ts'
import { timed } from '../../timing.ts'
import { TruncatedBytes } from '../bytes.ts'
import type { Entry } from '../entry.ts'
import type { Described } from '../library.ts'
import { StoreFault } from './store-fault.ts'

export type StoreSettings = Omit<NonNullable<Config['store']>, 'memoryBytes'>

const TRIES = 3
const CONNECT_WITHIN_MS = 1_500
/** A store that says nothing for so long is asked again. */
const SILENT_FOR_MS = 5_000
/** Connections to the store at once; listeners have theirs beside them, one for each range that is being read. */
const MAX_CONNECTIONS = 256
/** As many as S3 removes in one request. */
const REMOVED_AT_ONCE = 1_000

/** Part of an object, on its way. */
export interface Got {
  /** Of the whole object, in bytes. */
  size: number
  stream: Readable
}

/** A part of a multipart upload that is stored. */
export interface StoredPart {
  number: number
  tag: string
}

/** A multipart upload that was neither completed nor aborted. */
export interface Unfinished {
  key: string
  uploadId: string
  startedAtMs: number
}

/** A bucket of objects, under a prefix that keys here do not have. Faults are `StoreFault`s. */
export interface ObjectStore {
  /** In the words of an operator. */
  readonly place: string
  /** @param sha256 of the bytes in hex, where it is known */
  put(key: string, bytes: Buffer, sha256?: string): Promise<void>
  /**
   * The bytes from `start` to `end`, both included, or as many of them as there are.
   *
   * @throws ENOENT; TruncatedBytes where the object ends before `start`
   */
  get(key: string, start: number, end: number): Promise<Got>
  /** Bytes of an object; undefined where there is none. */
  sizeOf(key: string): Promise<number | undefined>
  /** Removes them; their absence is fine. */
  remove(keys: readonly string[]): Promise<void>
  /** What lies under a prefix, in the order of names. */
  list(prefix: string): AsyncGenerator<Entry>
  /** @throws ENOENT */
  copy(from: string, to: string): Promise<void>
  /** Begins an object that is put together of parts, of 5 MiB or more but for the last; its id. */
  begin(key: string): Promise<string>
  part(key: string, uploadId: string, number: number, bytes: Buffer): Promise<StoredPart>
  complete(key: string, uploadId: string, parts: readonly StoredPart[]): Promise<void>
  abort(key: string, uploadId: string): Promise<void>
  /** Multipart uploads under a prefix that have not ended. */
  unfinished(prefix: string): AsyncGenerator<Unfinished>
  /** An address under which anybody may read the object for some seconds. */
  addressOf(key: string, seconds: number, described: Described): Promise<string>
  /** What rules the bucket has for the end of objects, by the prefixes that they are for; undefined where it can't be told. */
  lifecycle(): Promise<Lifecycle | undefined>
  close(): void
}

export interface Lifecycle {
  /** Prefixes whose objects expire. */
  expiring: string[]
  /** Prefixes whose unfinished multipart uploads are aborted. */
  aborting: string[]
}

const FULL = new Set([
  'InsufficientStorage',
  'QuotaExceeded',
  'XMinioStorageFull',
  'EntityTooLarge',
  'InsufficientCapacity',
])
const REFUSED = new Set(['AccessDenied', 'InvalidAccessKeyId', 'SignatureDoesNotMatch'])

function faultOf(error: unknown, what: string): Error {
  if (!(error instanceof Error)) return new StoreFault('EIO', `${what} failed`, String(error))
  const { $metadata: { httpStatusCode: status } = {} } = error as { $metadata?: { httpStatusCode?: number } }
  const reason = error.name === 'Error' ? ((error as NodeJS.ErrnoException).code ?? error.name) : error.name
  const fault = (code: StoreFault['code'], say: string) =>
    new StoreFault(code, `${what}: ${say} (${reason})`, reason, error)
  if (reason === 'InvalidRange' || status === 416) return new TruncatedBytes(`${what}: the object ends before`)
  if (reason === 'NoSuchBucket') return fault('EIO', 'there is no such bucket')
  if (reason === 'NoSuchKey' || status === 404) return fault('ENOENT', 'it is not there')
  if (FULL.has(reason) || status === 507) return fault('ENOSPC', 'the store takes no more')
  if (reason === 'CredentialsProviderError') {
    return fault('EACCES', 'no credentials are found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY')
  }
  if (REFUSED.has(reason) || status === 401 || status === 403) return fault('EACCES', 'the store refuses')
  if (status === undefined || status >= 500 || status === 429)
    return fault('EAGAIN', 'the store does not answer as it should')
  return fault('EIO', `the store answers ${status}`)
}

/** Headers that the SDK knows no option for. */
function adjustHeaders(client: Sdk.S3Client, isTls: boolean): void {
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const request = args.request as { headers: Record<string, string>; body?: unknown }
      const { headers, body } = request
      if (context.commandName === 'DeleteObjectsCommand') {
        for (const name of Object.keys(headers)) if (/^x-amz-(sdk-)?checksum-/i.test(name)) delete headers[name]
        headers['content-md5'] = createHash('md5')
          .update(body as string | Uint8Array)
          .digest('base64')
      }
      // TLS guards the bytes on their way already; hashing them takes 0.6 ms for each MiB.
      const isBody = context.commandName === 'PutObjectCommand' || context.commandName === 'UploadPartCommand'
      if (isBody && isTls) headers['x-amz-content-sha256'] ??= 'UNSIGNED-PAYLOAD'
      return next(args)
    },
    { name: 'adjustHeaders', step: 'build', priority: 'low' },
  )
}

/** The hash of a body that is known already need not be taken again. */
const withHash = (sha256: string | undefined) => (command: Sdk.PutObjectCommand) => {
  if (sha256 === undefined) return command
  command.middlewareStack.add(
    (next) => (args) => {
      ;(args.request as { headers: Record<string, string> }).headers['x-amz-content-sha256'] = sha256
      return next(args)
    },
    { name: 'knownHash', step: 'build' },
  )
  return command
}

/** Loads the SDK and gives the store; nothing is asked of it yet. */
export async function connectS3(settings: StoreSettings): Promise<ObjectStore> {
  const sdk = await import('@aws-sdk/client-s3')
  return new S3Store(sdk, settings)
}

class S3Store implements ObjectStore {
  readonly place: string
  readonly #sdk: typeof Sdk
  readonly #bucket: string
  readonly #prefix: string
  readonly #client: Sdk.S3Client
  /** For ranges: however many listeners there are, bytes go on coming in. */
  readonly #reading: Sdk.S3Client

  constructor(sdk: typeof Sdk, { bucket, prefix, endpoint, region, pathStyle }: StoreSettings) {
    this.place = `s3://${bucket}/${prefix}`
    this.#sdk = sdk
    this.#bucket = bucket
    this.#prefix = prefix
    const isTls = endpoint === undefined || endpoint.startsWith('https:')
    const connect = (maxSockets: number) => {
      const agent = { keepAlive: true, maxSockets }
      const client = new sdk.S3Client({
        ...(endpoint !== undefined && { endpoint }),
        ...(region !== undefined ? { region } : endpoint !== undefined && { region: 'us-east-1' }),
        forcePathStyle: pathStyle,
        maxAttempts: TRIES,
        requestChecksumCalculation: 'WHEN_REQUIRED',
        responseChecksumValidation: 'WHEN_REQUIRED',
        // It would cost a connection of its own each time.
        expectContinueHeader: false,
        requestHandler: {
          connectionTimeout: CONNECT_WITHIN_MS,
          socketTimeout: SILENT_FOR_MS,
          httpAgent: agent,
          httpsAgent: agent,
        },
      })
      adjustHeaders(client, isTls)
      return client
    }
    this.#client = connect(MAX_CONNECTIONS)
    this.#reading = connect(Number.POSITIVE_INFINITY)
  }

  #at(key: string) {
    return { Bucket: this.#bucket, Key: this.#prefix + key }
  }

  /** @param what in the words of an operator */
  async #ask<T>(what: string, request: Promise<T>): Promise<T> {
    try {
      return await timed('store', () => request)
    } catch (error) {
      throw faultOf(error, `${what} in ${this.place}`)
    }
  }

  async put(key: string, bytes: Buffer, sha256?: string): Promise<void> {
    const command = new this.#sdk.PutObjectCommand({ ...this.#at(key), Body: bytes, ContentLength: bytes.length })
    await this.#ask(`storing ${key}`, this.#client.send(withHash(sha256)(command)))
  }

  async get(key: string, start: number, end: number): Promise<Got> {
    const command = new this.#sdk.GetObjectCommand({ ...this.#at(key), Range: `bytes=${start}-${end}` })
    const { Body, ContentRange, ContentLength } = await this.#ask(`reading ${key}`, this.#reading.send(command))
    const [, total] = /\/(\d+)$/.exec(ContentRange ?? '') ?? []
    return { size: Number(total ?? ContentLength), stream: Body as Readable }
  }

  async sizeOf(key: string): Promise<number | undefined> {
    try {
      const command = new this.#sdk.HeadObjectCommand(this.#at(key))
      const { ContentLength } = await this.#ask(`looking for ${key}`, this.#client.send(command))
      return ContentLength
    } catch (error) {
      if ((error as StoreFault).code !== 'ENOENT') throw error
    }
    // An answer to HEAD has no body: only of a GET it is told whether the object or the bucket is missing.
    return this.#sizeByReading(key)
  }

  async #sizeByReading(key: string): Promise<number | undefined> {
    try {
      const { size, stream } = await this.get(key, 0, 0)
      stream.destroy()
      return size
    } catch (error) {
      if ((error as StoreFault).code === 'ENOENT') return undefined
      if (error instanceof TruncatedBytes) return 0
      throw error
    }
  }

  async remove(keys: readonly string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += REMOVED_AT_ONCE) {
      const Objects = keys.slice(at, at + REMOVED_AT_ONCE).map((key) => ({ Key: this.#prefix + key }))
      const command = new this.#sdk.DeleteObjectsCommand({ Bucket: this.#bucket, Delete: { Objects, Quiet: true } })
      const { Errors = [] } = await this.#ask('removing', this.#client.send(command))
      const failed = Errors.find(({ Code }) => Code !== 'NoSuchKey')
      if (failed) {
        const reason = failed.Code ?? 'unknown'
        const code = REFUSED.has(reason) ? 'EACCES' : 'EAGAIN'
        throw new StoreFault(code, `removing ${failed.Key} in ${this.place}: ${failed.Message}`, reason)
      }
    }
  }

  async *list(prefix: string): AsyncGenerator<Entry> {
    let after: string | undefined
    do {
      const command: Sdk.ListObjectsV2Command = new this.#sdk.ListObjectsV2Command({
        Bucket: this.#bucket,
        Prefix: this.#prefix + prefix,
        ContinuationToken: after,
      })
      const page = await this.#ask(`listing ${prefix}`, this.#client.send(command))
      for (const { Key = '', Size = 0, LastModified } of page.Contents ?? []) {
        yield { name: Key.slice(this.#prefix.length), bytes: Size, changedAtMs: LastModified?.getTime() ?? 0 }
      }
      after = page.IsTruncated ? page.NextContinuationToken : undefined
    } while (after !== undefined)
  }

  async copy(from: string, to: string): Promise<void> {
    const source = `${this.#bucket}/${this.#prefix}${from}`.split('/').map(encodeURIComponent).join('/')
    const command = new this.#sdk.CopyObjectCommand({ ...this.#at(to), CopySource: source })
    await this.#ask(`copying ${from}`, this.#client.send(command))
  }

  async begin(key: string): Promise<string> {
    const command = new this.#sdk.CreateMultipartUploadCommand(this.#at(key))
    const { UploadId } = await this.#ask(`beginning ${key}`, this.#client.send(command))
    if (UploadId === undefined)
      throw new StoreFault('EIO', `beginning ${key} in ${this.place}: no id came`, 'NoUploadId')
    return UploadId
  }

  async part(key: string, uploadId: string, number: number, bytes: Buffer): Promise<StoredPart> {
    const command = new this.#sdk.UploadPartCommand({
      ...this.#at(key),
      UploadId: uploadId,
      PartNumber: number,
      Body: bytes,
      ContentLength: bytes.length,
    })
    const { ETag = '' } = await this.#ask(`storing part ${number} of ${key}`, this.#client.send(command))
    return { number, tag: ETag }
  }

  async complete(key: string, uploadId: string, parts: readonly StoredPart[]): Promise<void> {
    const command = new this.#sdk.CompleteMultipartUploadCommand({
      ...this.#at(key),
      UploadId: uploadId,
      MultipartUpload: { Parts: parts.map(({ number, tag }) => ({ PartNumber: number, ETag: tag })) },
    })
    await this.#ask(`completing ${key}`, this.#client.send(command))
  }

  async abort(key: string, uploadId: string): Promise<void> {
    const command = new this.#sdk.AbortMultipartUploadCommand({ ...this.#at(key), UploadId: uploadId })
    await this.#ask(`aborting ${key}`, this.#client.send(command)).catch((error: StoreFault) => {
      if (error.code !== 'ENOENT') throw error
    })
  }

  async *unfinished(prefix: string): AsyncGenerator<Unfinished> {
    let after: { KeyMarker?: string; UploadIdMarker?: string } | undefined
    do {
      const command: Sdk.ListMultipartUploadsCommand = new this.#sdk.ListMultipartUploadsCommand({
        Bucket: this.#bucket,
        Prefix: this.#prefix + prefix,
        ...after,
      })
      const page = await this.#ask(`listing what is unfinished under ${prefix}`, this.#client.send(command))
      for (const { Key = '', UploadId = '', Initiated } of page.Uploads ?? []) {
        yield { key: Key.slice(this.#prefix.length), uploadId: UploadId, startedAtMs: Initiated?.getTime() ?? 0 }
      }
      after = page.IsTruncated ? { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker } : undefined
    } while (after !== undefined)
  }

  async addressOf(
    key: string,
    seconds: number,
    { contentType, disposition, cacheControl }: Described,
  ): Promise<string> {
    const { getSignedUrl } = await import('@aws-sdk/s3-request-presigner')
    const command = new this.#sdk.GetObjectCommand({
      ...this.#at(key),
      ResponseContentType: contentType,
      ResponseContentDisposition: disposition,
      ResponseCacheControl: cacheControl,
    })
    return this.#ask(`signing for ${key}`, getSignedUrl(this.#client, command, { expiresIn: seconds }))
  }

  async lifecycle(): Promise<Lifecycle | undefined> {
    const command = new this.#sdk.GetBucketLifecycleConfigurationCommand({ Bucket: this.#bucket })
    try {
      const { Rules = [] } = await this.#client.send(command)
      const inForce = Rules.filter(({ Status }) => Status === 'Enabled')
      const prefixes = (rules: typeof Rules) => rules.map(({ Filter, Prefix }) => Filter?.Prefix ?? Prefix ?? '')
      return {
        expiring: prefixes(inForce.filter(({ Expiration }) => Expiration !== undefined)),
        aborting: prefixes(inForce.filter(({ AbortIncompleteMultipartUpload: abort }) => abort !== undefined)),
      }
    } catch (error) {
      if ((error as Error).name === 'NoSuchLifecycleConfiguration') return { expiring: [], aborting: [] }
      return undefined
    }
  }

  close(): void {
    this.#client.destroy()
    this.#reading.destroy()
  }
}
