/** ASF with Windows Media Audio: the objects of its header alone. */
import type { Found } from './found.ts'
import type { Pages } from './pages.ts'

/** As they stand in a file. */
export const ASF_HEADER = '3026b2758e66cf11a6d900aa0062ce6c'
const FILE_PROPERTIES = 'a1dcab8c47a9cf118ee400c00c205365'
const STREAM_PROPERTIES = '9107dcb7b7a9cf118ee600c00c205365'
const SOUND = '409e69f84d5bcf11a8fd00805f5c442b'
const PICTURE = 'c0ef19bc4d5bcf11a8fd00805f5c442b'
const OBJECT_HEAD_BYTES = 24
const MAX_OBJECTS = 1000
const HECTONANOSECONDS = 1e7
const BROADCAST = 1

export async function inspectAsf(file: Pages, start: number): Promise<Found | undefined> {
  const head = await file.exactly(start, 30)
  if (!head) return undefined
  const end = start + Number(head.readBigUInt64LE(16))
  let seconds: number | undefined
  let [hasSound, hasPicture] = [false, false]
  let at = start + 30
  for (let count = 0; count < MAX_OBJECTS && at < end; count++) {
    const object = await file.exactly(at, OBJECT_HEAD_BYTES)
    if (!object) break
    const id = object.toString('hex', 0, 16)
    const length = Number(object.readBigUInt64LE(16))
    if (length < OBJECT_HEAD_BYTES) break
    if (id === FILE_PROPERTIES) seconds = secondsOf(await file.exactly(at, 92), file.size - start)
    if (id === STREAM_PROPERTIES) {
      const kind = (await file.exactly(at + OBJECT_HEAD_BYTES, 16))?.toString('hex')
      hasSound ||= kind === SOUND
      hasPicture ||= kind === PICTURE
    }
    at += length
  }
  return {
    contentType: hasPicture ? 'video/x-ms-asf' : 'audio/x-ms-wma',
    codec: hasSound ? 'wma' : undefined,
    seconds,
  }
}

/** The play time told, if the file is as long as it says of itself. */
function secondsOf(properties: Buffer | undefined, bytesThere: number): number | undefined {
  if (!properties) return undefined
  const bytesTold = Number(properties.readBigUInt64LE(40))
  const isLive = (properties.readUInt32LE(88) & BROADCAST) !== 0
  if (isLive || bytesThere < bytesTold * 0.985) return undefined
  const prerollSeconds = Number(properties.readBigUInt64LE(80)) / 1000
  return Number(properties.readBigUInt64LE(64)) / HECTONANOSECONDS - prerollSeconds
}
