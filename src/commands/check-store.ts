/**
 * `call-recordings check-store`: tries all that the service asks of an S3 store against the configured bucket, and says a
 * sentence about each.
 *
 * Leaves nothing behind; works beside running servers, whose objects it does not touch.
 */
import { randomBytes } from 'node:crypto'
import type { Config } from '../config/config.ts'
import { TruncatedBytes } from '../storage/bytes.ts'
import { CHECK, RECORDINGS, UPLOADS } from '../storage/s3/bucket-layout.ts'
import { connectS3, type ObjectStore } from '../storage/s3/s3-client.ts'
import type { Output } from './output.ts'

const MIB = 1024 * 1024
const CLOCKS_APART_MS = 300_000

interface Trial {
  store: ObjectStore
  /** Of all keys that are made here. */
  folder: string
  bytes: Buffer
}

interface Check {
  /** What works if it does. */
  says: string
  /** What does not work without it; undefined: the service does not work. */
  without?: string
  /** @throws what it fails with */
  run(trial: Trial): Promise<void>
}

class Wrong extends Error {
  override name = 'Wrong'
}

function expect(isRight: boolean, what: string): void {
  if (!isRight) throw new Wrong(what)
}

async function read(store: ObjectStore, key: string, start: number, end: number): Promise<Buffer> {
  const { stream } = await store.get(key, start, end)
  const pieces: Buffer[] = []
  for await (const piece of stream as AsyncIterable<Buffer>) pieces.push(piece)
  return Buffer.concat(pieces)
}

const codeOf = (error: unknown) =>
  error instanceof TruncatedBytes ? 'TruncatedBytes' : (error as { code?: string }).code

/** The code that the work fails with; undefined when it does not. */
const failing = (work: Promise<unknown>): Promise<string | undefined> => work.then(() => undefined, codeOf)

const CHECKS: readonly Check[] = [
  {
    says: 'stores an object and gives it back',
    async run({ store, folder, bytes }) {
      await store.put(`${folder}one`, bytes)
      const back = await read(store, `${folder}one`, 0, bytes.length - 1)
      expect(back.equals(bytes), 'it gives back other bytes than it was given')
    },
  },
  {
    says: 'gives ranges of an object, and refuses those beyond its end',
    async run({ store, folder, bytes }) {
      const key = `${folder}one`
      const middle = await read(store, key, 1_000, 1_999)
      expect(middle.equals(bytes.subarray(1_000, 2_000)), 'a range has other bytes than were asked for')
      const { size, stream } = await store.get(key, bytes.length - 1, bytes.length + 100)
      stream.destroy()
      expect(size === bytes.length, 'a range does not tell how large the object is (Content-Range)')
      const beyond = await failing(store.get(key, bytes.length, bytes.length + 1))
      expect(beyond === 'TruncatedBytes', 'a range beyond the end is not refused with 416')
    },
  },
  {
    says: 'tells how large an object is, and which are not there',
    async run({ store, folder, bytes }) {
      expect((await store.sizeOf(`${folder}one`)) === bytes.length, 'HEAD tells another size')
      expect((await store.sizeOf(`${folder}none`)) === undefined, 'it has an object that nobody stored')
      expect((await failing(store.get(`${folder}none`, 0, 1))) === 'ENOENT', 'a missing object is no NoSuchKey')
    },
  },
  {
    says: 'lists objects by the beginning of their names, as soon as they are stored',
    without: 'the sweep does not find what a crash has left',
    async run({ store, folder, bytes }) {
      const found: string[] = []
      for await (const { name, bytes: size, changedAtMs } of store.list(folder)) {
        found.push(name)
        expect(size === bytes.length, `it lists ${size} bytes of an object that has ${bytes.length}`)
        const apartMs = Math.abs(changedAtMs - Date.now())
        expect(apartMs < CLOCKS_APART_MS, `its clock and this machine's are ${Math.round(apartMs / 1000)} s apart`)
      }
      expect(found.join() === `${folder}one`, `it lists ${found.length} objects where there is one`)
    },
  },
  {
    says: 'copies an object',
    without: 'sweep --unknown can set no recordings aside',
    async run({ store, folder, bytes }) {
      await store.copy(`${folder}one`, `${folder}copy`)
      expect((await store.sizeOf(`${folder}copy`)) === bytes.length, 'the copy has another size')
    },
  },
  {
    says: 'puts an object together of parts (multipart uploads)',
    without: 'recordings of more than 16 MiB can not be stored',
    async run({ store, folder, bytes }) {
      const key = `${folder}parts`
      const first = Buffer.alloc(8 * MIB, bytes)
      const id = await store.begin(key)
      try {
        const parts = [await store.part(key, id, 1, first), await store.part(key, id, 2, bytes)]
        await store.complete(key, id, parts)
      } catch (error) {
        await store.abort(key, id).catch(() => {})
        throw error
      }
      expect((await store.sizeOf(key)) === first.length + bytes.length, 'the whole has another size than its parts')
      const seam = await read(store, key, first.length - 10, first.length + 9)
      const expected = Buffer.concat([first.subarray(-10), bytes.subarray(0, 10)])
      expect(seam.equals(expected), 'the whole has other bytes than its parts')
    },
  },
  {
    says: 'gives up what was begun in parts, and tells what is unfinished',
    without: 'parts of finishes that failed stay, unless a rule of the bucket removes them',
    async run({ store, folder, bytes }) {
      const key = `${folder}aborted`
      const id = await store.begin(key)
      await store.part(key, id, 1, bytes)
      const unfinished = async () => {
        for await (const { uploadId } of store.unfinished(folder)) if (uploadId === id) return true
        return false
      }
      try {
        expect(await unfinished(), 'it does not list a multipart upload that is under way')
      } finally {
        await store.abort(key, id)
      }
      expect(!(await unfinished()), 'it still lists a multipart upload that was aborted')
      expect((await store.sizeOf(key)) === undefined, 'it has an object whose multipart upload was aborted')
    },
  },
  {
    says: 'lets listeners read by a signed address, with the type and the name that were signed',
    without: 'RECORDINGS_PLAYBACK_REDIRECT can not be used',
    async run({ store, folder, bytes }) {
      const signed = {
        contentType: 'audio/wav',
        disposition: "inline; filename*=UTF-8''call.wav",
        cacheControl: 'private, max-age=60',
      }
      const address = await store.addressOf(`${folder}one`, 60, signed)
      const res = await fetch(address, { headers: { range: 'bytes=0-9' }, redirect: 'manual' })
      const body = Buffer.from(await res.arrayBuffer())
      expect(res.status === 206, `a range by a signed address is answered ${res.status}`)
      expect(body.equals(bytes.subarray(0, 10)), 'a signed address gives other bytes')
      for (const [header, value] of [
        ['content-type', signed.contentType],
        ['content-disposition', signed.disposition],
        ['cache-control', signed.cacheControl],
      ] as const) {
        expect(res.headers.get(header) === value, `a signed address has another ${header}: ${res.headers.get(header)}`)
      }
    },
  },
  {
    says: 'removes many objects at once, also some that are not there',
    async run({ store, folder }) {
      await store.remove(['one', 'copy', 'parts', 'none'].map((name) => folder + name))
      for (const name of ['one', 'copy', 'parts']) {
        expect((await store.sizeOf(folder + name)) === undefined, 'an object is still there after it was removed')
      }
    },
  },
]

const readable = (error: unknown) => (error as Error).message

/** @returns whether it works */
async function tell(check: Check, trial: Trial, output: Output): Promise<boolean> {
  try {
    await check.run(trial)
    output.tell({ type: 'ok', what: `it ${check.says}` }, `ok       it ${check.says}`)
    return true
  } catch (error) {
    const consequence = check.without ?? 'the service can not work with it'
    const what = `it should be a store that ${check.says}`
    output.tell(
      { type: 'missing', what, fault: readable(error), consequence },
      `missing  ${what}: ${readable(error)}; ${consequence}`,
    )
    return false
  }
}

const covers = (prefixes: readonly string[], prefix: string) => prefixes.some((each) => prefix.startsWith(each))

async function advise(store: ObjectStore, prefix: string, output: Output): Promise<void> {
  const print = (what: string) => output.tell({ type: 'advice', what }, `advice   ${what}`)
  const rules = await store.lifecycle()
  if (rules === undefined) {
    print('its lifecycle rules could not be read: see that two of them are there (docs/operating.md)')
    return
  }
  if (!covers(rules.expiring, prefix + UPLOADS)) {
    print(`no rule removes objects under ${prefix}${UPLOADS} after 7 days: the sweep does, while a server runs`)
  }
  if (!covers(rules.aborting, prefix + RECORDINGS)) {
    print(`no rule aborts multipart uploads under ${prefix}${RECORDINGS} after a day: their parts cost money unseen`)
  }
}

/** @returns the exit code: 1 when something that the service needs does not work */
export async function checkStore(settings: NonNullable<Config['store']>, output: Output): Promise<number> {
  const store = await connectS3(settings)
  const folder = `${CHECK}${randomBytes(8).toString('hex')}/`
  const trial: Trial = { store, folder, bytes: randomBytes(MIB) }
  try {
    output.sum(
      { store: store.place, endpoint: settings.endpoint },
      `${store.place}${settings.endpoint === undefined ? '' : ` at ${settings.endpoint}`}`,
    )
    const [first, ...others] = CHECKS as [Check, ...Check[]]
    // Where not even this works, the rest would say the same eight times.
    if (!(await tell(first, trial, output))) return 1
    let works = true
    for (const check of others) works = (await tell(check, trial, output)) && works
    await advise(store, settings.prefix, output)
    return works ? 0 : 1
  } finally {
    await store.remove(['one', 'copy', 'parts', 'aborted'].map((name) => folder + name)).catch(() => {})
    store.close()
  }
}
