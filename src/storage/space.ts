/**
 * Room in the stores: an upload is let in only when it, and all that was promised to the open ones, will fit.
 *
 * What is promised is kept for each upload, not as a sum of comings and goings, so that it cannot drift. Where the
 * recordings lie on a volume of their own, an upload needs its whole length there until it is finished.
 */
import { passing } from '../errors.ts'
import type { Room } from './bytes.ts'

/** A store's answer is good for this long; what came meanwhile is taken off it. */
const READING_MS = 500

/** Of what is free, one caller may have this much reserved at once, except by a single upload. */
const CALLERS_SHARE = 1 / 4

/** What an open upload of known length may still bring, and how long it is in all. */
export interface Promised {
  id: string
  length: number
  offset: number
  /** Whose share it is of; none for work of our own on bytes that have come. */
  callerId?: string
  /** No byte has come and none is on its way: other uploads that need the room may have it. */
  givesWay?: boolean
}

export interface Space {
  /**
   * Claims room for an upload. Where there is none, uploads that never got a byte give way, the oldest first: their room
   * is claimed again when their first byte comes.
   *
   * @throws ServiceError `insufficient_storage`
   */
  reserve(promised: Promised): Promise<void>
  /** Bytes of this upload come now: it has its room, and gives way no more. @throws ServiceError as `reserve` does */
  keep(promised: Promised): Promise<void>
  /** The upload stands at `offset` now; nothing for one that has claimed no room. */
  arrived(id: string, offset: number): void
  /** The upload brings nothing more: finished, cancelled, expired, or never begun. */
  release(id: string): void
  /** @throws ServiceError `insufficient_storage` when less is free than must remain, whatever is promised */
  assertRoom(): Promise<void>
  /** Bytes promised to open uploads that have not come yet. */
  readonly reservedBytes: number
}

/** A store that can be asked what it has room for. */
export interface Roomy {
  room(): Promise<Room>
}

interface Volume {
  store: Roomy
  promisedBytes: number
  byCaller: Map<string, number>
  reading: { freeBytes: number; atMs: number } | undefined
}

interface Claim extends Pick<Promised, 'callerId' | 'length'> {
  left: number
  givesWay: boolean
}

const volumeOf = (store: Roomy): Volume => ({
  store,
  promisedBytes: 0,
  byCaller: new Map(),
  reading: undefined,
})

function promise(volume: Volume, callerId: string | undefined, bytes: number): void {
  volume.promisedBytes += bytes
  if (callerId === undefined) return
  const sum = (volume.byCaller.get(callerId) ?? 0) + bytes
  if (sum > 0) volume.byCaller.set(callerId, sum)
  else volume.byCaller.delete(callerId)
}

async function freeBytes(volume: Volume): Promise<number> {
  const now = performance.now()
  if (volume.reading && now - volume.reading.atMs < READING_MS) return volume.reading.freeBytes
  const { freeBytes: told } = await volume.store.room()
  const freeBytes = told === 'unbounded' ? Number.POSITIVE_INFINITY : told
  volume.reading = { freeBytes, atMs: now }
  return freeBytes
}

/**
 * @param minFreeBytes what must remain free
 * @param open what uploads that are open already may still bring
 */
export async function createSpace(
  { staging, library }: { staging: Roomy; library: Roomy },
  minFreeBytes: number,
  open: Iterable<Promised> = [],
): Promise<Space> {
  const [ofStaging, ofLibrary] = await Promise.all([staging.room(), library.room()])
  const arriving = volumeOf(staging)
  const staying = ofStaging.volume === ofLibrary.volume ? undefined : volumeOf(library)
  const volumes = staying ? [arriving, staying] : [arriving]
  /** In the order in which they were made. */
  const claims = new Map<string, Claim>()

  /** What an upload needs of a volume. */
  const neededOn = (volume: Volume, { left, length }: Pick<Claim, 'left' | 'length'>) =>
    volume === arriving ? left : length

  const claimOf = ({ callerId, length, offset, givesWay = false }: Promised): Claim => ({
    ...(callerId !== undefined && { callerId }),
    length,
    left: Math.max(0, length - offset),
    givesWay,
  })

  function claim(promised: Promised) {
    release(promised.id)
    const made = claimOf(promised)
    claims.set(promised.id, made)
    for (const volume of volumes) promise(volume, made.callerId, neededOn(volume, made))
  }

  function release(id: string) {
    const known = claims.get(id)
    if (!known) return
    claims.delete(id)
    for (const volume of volumes) promise(volume, known.callerId, -neededOn(volume, known))
  }

  /** How many bytes too few there are on a volume: for the upload, and within its caller's share. */
  function lacking(volume: Volume, freeBytes: number, promised: Promised) {
    const room = freeBytes - minFreeBytes
    const needed = neededOn(volume, claimOf(promised))
    const old = claims.get(promised.id)
    const before = old ? neededOn(volume, old) : 0
    const own = promised.callerId === undefined ? 0 : (volume.byCaller.get(promised.callerId) ?? 0) - before
    return {
      inAll: volume.promisedBytes - before + needed - room,
      ofShare: own > 0 && needed > 0 ? own + needed - room * CALLERS_SHARE : 0,
    }
  }

  /** What must give way for the upload, the oldest first; undefined when all that could is not enough. */
  function givingWay(volume: Volume, freeBytes: number, promised: Promised): string[] | undefined {
    const lack = lacking(volume, freeBytes, promised)
    const ids: string[] = []
    for (const [id, each] of claims) {
      if (lack.inAll <= 0 && lack.ofShare <= 0) break
      const isOwn = each.callerId === promised.callerId
      if (!each.givesWay || id === promised.id || (lack.inAll <= 0 && !isOwn)) continue
      ids.push(id)
      const bytes = neededOn(volume, each)
      lack.inAll -= bytes
      if (isOwn) lack.ofShare -= bytes
    }
    return lack.inAll <= 0 && lack.ofShare <= 0 ? ids : undefined
  }

  /** Claims the room if it is there or can be made; nothing comes between the look and the claim. */
  async function claimed(promised: Promised): Promise<boolean> {
    const free = await Promise.all(volumes.map(freeBytes))
    const ids = volumes.map((volume, i) => givingWay(volume, free[i] as number, promised))
    if (ids.includes(undefined)) return false
    for (const id of ids.flat()) release(id as string)
    claim(promised)
    return true
  }

  async function reserve(promised: Promised): Promise<void> {
    if (await claimed(promised)) return
    for (const volume of volumes) volume.reading = undefined
    if (await claimed(promised)) return
    throw passing('insufficient_storage', 'The storage has no room for this upload just now.')
  }

  async function assertRoom(): Promise<void> {
    // A store that can't tell is no full one.
    const free = await Promise.all(volumes.map((volume) => freeBytes(volume).catch(() => minFreeBytes)))
    if (Math.min(...free) < minFreeBytes) throw passing('insufficient_storage', 'Less is free than must remain.')
  }

  for (const each of open) claim(each)

  return {
    get reservedBytes() {
      return arriving.promisedBytes
    },
    reserve,
    assertRoom,
    async keep(promised) {
      if (!claims.has(promised.id)) await reserve(promised)
      const known = claims.get(promised.id)
      if (known) known.givesWay = false
    },
    arrived(id, offset) {
      const known = claims.get(id)
      if (!known) return
      const left = Math.max(0, known.length - offset)
      const came = known.left - left
      known.left = left
      promise(arriving, known.callerId, -came)
      if (arriving.reading) arriving.reading.freeBytes -= came
    },
    release,
  }
}
