/**
 * A legacy request out of its body, in each of the forms that it comes in: its parameters, and its chunk.
 */
import { decodeBase64InPlace } from './base64.ts'
import { readChunkJson, unescapeInPlace } from './chunk-json.ts'
import { inSlices } from './passes.ts'
import { readUrlencoded } from './urlencoded.ts'

export interface LegacyRequest {
  params: unknown
  /** Names that were given more than once; of JSON none are, since the last counts there (RFC 8259 §4). */
  repeated: readonly string[]
  /** The bytes of the chunk, decoded when they are asked for, once. @throws ServiceError for what is no Base64 */
  chunkOf(): Promise<Buffer | undefined>
}

const BYTE_ORDER_MARK = Buffer.from('\uFEFF')

/** A parser may pass over a byte order mark (RFC 8259 §8.1); the other routes' parser does. */
const withoutMark = (json: Buffer): Buffer =>
  json.subarray(0, 3).equals(BYTE_ORDER_MARK) ? json.subarray(BYTE_ORDER_MARK.length) : json

/** @param body is written over */
export async function requestInJson(body: Buffer): Promise<LegacyRequest> {
  const bytes = withoutMark(body)
  const { params, chunk } = await inSlices(readChunkJson(bytes))
  return {
    params,
    repeated: [],
    async chunkOf() {
      if (!chunk) return undefined
      const end = await inSlices(unescapeInPlace(bytes, chunk))
      return inSlices(decodeBase64InPlace(bytes, chunk.start, end))
    },
  }
}

/** @param body is written over */
export async function requestUrlencoded(body: Buffer): Promise<LegacyRequest> {
  const { chunk, ...fields } = await inSlices(readUrlencoded(body))
  return { ...fields, chunkOf: async () => chunk && inSlices(decodeBase64InPlace(chunk)) }
}

/**
 * @param chunk is written over
 * @param isText the chunk is in Base64
 */
export const requestInForm = (
  fields: Pick<LegacyRequest, 'params' | 'repeated'>,
  chunk: Buffer | undefined,
  isText: boolean | undefined,
): LegacyRequest => ({
  ...fields,
  chunkOf: async () => chunk && (isText ? inSlices(decodeBase64InPlace(chunk)) : chunk),
})
