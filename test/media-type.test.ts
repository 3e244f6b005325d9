import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isServedExtension, mediaTypeOfExtension } from '../src/media/extensions.ts'
import { HEAD_BYTES, inspectHead, inspectMedia, inspectPlainWav, walkMedia } from '../src/media/media-type.ts'
import { Pages, type ReadBytes, WorkExceeded } from '../src/media/pages.ts'
import { AUDIO, fixtureBytes, VIDEO } from './support/fixtures.ts'
import { BUSY, id3, junk, liveMp4, liveWebm, ODD, zeros } from './support/media-files.ts'

/** Reads from memory as from a file, and counts what is asked for. */
function reader(bytes: Uint8Array) {
  const asked = { reads: 0, bytes: 0, largest: 0 }
  const read: ReadBytes = async (position, length) => {
    asked.reads++
    asked.bytes += length
    asked.largest = Math.max(asked.largest, length)
    return bytes.subarray(position, position + length)
  }
  return { read, asked }
}

const inspect = (bytes: Uint8Array, filename: string) => inspectMedia(reader(bytes).read, bytes.length, filename)

/** Frames of `fixture` again and again: a longer recording of the same kind. */
const repeated = (fixture: string, times: number, headBytes = 0) => {
  const bytes = fixtureBytes(fixture)
  return Buffer.concat([
    bytes.subarray(0, headBytes),
    ...Array.from({ length: times }, () => bytes.subarray(headBytes)),
  ])
}

describe('extensions', () => {
  test.for([
    ['call.AAC', 'audio/aac'],
    ['a.b.mp3', 'audio/mpeg'],
    ['x.m4a', 'audio/mp4'],
    ['x.wav', 'audio/wav'],
    ['x.ogg', 'audio/ogg'],
    ['x.opus', 'audio/ogg'],
    ['x.amr', 'audio/amr'],
    ['x.3gp', 'audio/3gpp'],
    ['x.webm', 'audio/webm'],
    ['x.flac', 'audio/flac'],
    ['x.3ga', 'audio/3gpp'],
    ['x.3gpp', 'audio/3gpp'],
    ['x.awb', 'audio/amr-wb'],
    ['x.mp4', 'audio/mp4'],
    ['x.weba', 'audio/webm'],
    ['x.mka', 'audio/matroska'],
    ['x.caf', 'audio/x-caf'],
    ['x.aiff', 'audio/aiff'],
    ['x.AIF', 'audio/aiff'],
    ['x.au', 'audio/basic'],
    ['x.wma', 'audio/x-ms-wma'],
    ['x.mp2', 'audio/mpeg'],
    ['.wav', 'audio/wav'],
    ['wav', undefined],
    ['x.wav.exe', undefined],
    ['x.', undefined],
    ['x.constructor', undefined],
    ['', undefined],
  ] as const)('%s stands for %s', ([name, type]) => {
    expect(mediaTypeOfExtension(name)).toBe(type)
    expect(isServedExtension(name)).toBe(type !== undefined)
  })
})

/** RIFF, `fmt ` of PCM, `data`; lengths as told, which need not be true. */
function wave(given: Partial<Record<'rate' | 'channels' | 'bytes' | 'told' | 'fmt', number>> = {}): Buffer {
  const { rate = 8_000, channels = 1, bytes = 16_000, fmt = 16 } = given
  const { told = bytes } = given
  const file = Buffer.alloc(28 + fmt + bytes)
  file.write('RIFF', 0, 'latin1')
  file.writeUInt32LE(Math.min(told + 20 + fmt, 0xffffffff), 4)
  file.write('WAVEfmt ', 8, 'latin1')
  file.writeUInt32LE(fmt, 16)
  file.writeUInt16LE(1, 20)
  file.writeUInt16LE(channels, 22)
  file.writeUInt32LE(rate, 24)
  file.writeUInt32LE(rate * channels * 2, 28)
  file.writeUInt16LE(channels * 2, 32)
  file.writeUInt16LE(16, 34)
  file.write('data', 20 + fmt, 'latin1')
  file.writeUInt32LE(told, 24 + fmt)
  return file
}

describe('WAVE', () => {
  test.for([
    ['mono', wave(), 1],
    ['stereo', wave({ channels: 2, rate: 44_100, bytes: 176_400 }), 1],
    ['a longer fmt chunk', wave({ fmt: 18 }), 1],
    ['a length longer than the file', wave({ told: 0x7fffffff }), 1],
    ['a length of all ones', wave({ told: 0xffffffff }), 1],
    ['a length of 0, and bytes all the same', wave({ told: 0 }), 1],
    ['no bytes', wave({ bytes: 0 }), null],
    ['a rate of 0', wave({ rate: 0 }), null],
    ['no channels', wave({ channels: 0 }), null],
  ] as const)('%s', async ([, bytes, durationSeconds]) => {
    expect(await inspect(bytes, 'call.wav')).toEqual({
      contentType: 'audio/wav',
      durationSeconds,
      mediaCheck: 'ok',
      playsInBrowsers: true,
    })
  })

  test.for([
    ['mono', wave()],
    ['stereo', wave({ channels: 2, rate: 44_100, bytes: 176_400 })],
    ['a length longer than the file', wave({ told: 0x7fffffff })],
    ['a length of 0', wave({ told: 0 })],
  ] as const)('%s is known by its first bytes alone', async ([, bytes]) => {
    expect(inspectPlainWav(bytes.subarray(0, HEAD_BYTES), bytes.length)).toEqual(await inspect(bytes, 'call.wav'))
  })

  test.for([
    ['a longer fmt chunk', wave({ fmt: 18 })],
    ['no channels', wave({ channels: 0 })],
    ['a head that is cut', wave().subarray(0, 43)],
    ['something else', fixtureBytes('tone.mp3')],
  ] as const)('%s is not', ([, bytes]) => {
    expect(inspectPlainWav(bytes.subarray(0, HEAD_BYTES), bytes.length)).toBeUndefined()
  })
})

const within = (seconds: number | null, told: number | null, share = 0.02) =>
  expect(Math.abs((told ?? 0) - (seconds ?? 0)), `${told} s, not ${seconds} s`).toBeLessThanOrEqual(
    (seconds ?? 0) * share,
  )

describe('what the field sends', () => {
  test.for(ODD)('$what: type, and duration within 2 %', async ({ filename, contentType, durationSeconds, bytes }) => {
    const found = await inspect(bytes(), filename)
    expect(found).toMatchObject({ contentType, mediaCheck: 'ok' })
    within(durationSeconds, found.durationSeconds)
  })

  test.for(BUSY)('$what are passed over: few reads of little', async (given) => {
    const bytes = given.bytes()
    const { read, asked } = reader(bytes)
    const found = await inspectMedia(read, bytes.length, given.filename)
    expect(found.contentType).toBe(given.contentType)
    if (given.durationSeconds === null) expect(found.durationSeconds).toBeNull()
    else within(given.durationSeconds, found.durationSeconds)
    expect(asked.reads).toBeLessThanOrEqual(5)
    expect(asked.bytes).toBeLessThan(1_100_000)
  })

  test.for([
    ['WebM with subtitles alone', liveWebm(2, 17)],
    ['MP4 with a picture alone', liveMp4(20, 'trun', { handler: 'vide' })],
  ] as const)('%s has no sound track, and is unrecognised', async ([, bytes]) => {
    expect(await inspect(bytes, 'call.m4a')).toMatchObject({
      mediaCheck: 'unrecognised',
      durationSeconds: null,
      playsInBrowsers: false,
    })
  })
})

/** What stands for `name` when it is told of again. */
const sound = [...AUDIO, ...VIDEO]

describe('damage', () => {
  test.for(sound)('$name, its last hundredth cut off, is what it was', async ({ name, contentType }) => {
    const bytes = fixtureBytes(name)
    const found = await inspect(bytes.subarray(0, Math.floor(bytes.length * 0.99)), name)
    expect(found).toMatchObject({ contentType, mediaCheck: 'ok', durationSeconds: expect.any(Number) })
  })

  test.for([
    ['700 bytes of Z', Buffer.alloc(700, 0x5a)],
    ['5,000 zeros', zeros(5000)],
    ['20,000 bytes of no sense', junk(20_000)],
    ['a tag', Buffer.concat([Buffer.from('TAG'), junk(125)])],
  ] as const)('%s behind changes nothing', async ([, behind]) => {
    for (const { name, contentType, durationSeconds } of sound) {
      const found = await inspect(Buffer.concat([fixtureBytes(name), behind]), name)
      expect(found, name).toMatchObject({ contentType, mediaCheck: 'ok' })
      within(durationSeconds, found.durationSeconds, 0.025)
    }
  })

  test.for([
    ['a tag', id3(junk(30_000))],
    ['zeros', zeros(300_000)],
    ['zeros and a tag', Buffer.concat([zeros(70_000), id3(junk(100))])],
  ] as const)('%s ahead changes nothing', async ([, ahead]) => {
    for (const { name, contentType, durationSeconds } of sound) {
      const found = await inspect(Buffer.concat([ahead, fixtureBytes(name)]), name)
      expect(found, name).toMatchObject({ contentType, mediaCheck: 'ok' })
      within(durationSeconds, found.durationSeconds, 0.025)
    }
  })

  test.for(['tone.mp3', 'tone.aac'])('%s that was cut at its start goes on with its next frame', async (name) => {
    const found = await inspect(fixtureBytes(name).subarray(777), name)
    expect(found).toMatchObject({ mediaCheck: 'ok' })
    within(2.3, found.durationSeconds, 0.06)
  })

  test.for(['tone.mp3', 'tone.aac', 'tone.amr', 'tone.ogg'])('a hole in %s is not heard', async (given) => {
    const name = given === 'tone.ogg' ? 'tone-vorbis.ogg' : given
    const bytes = fixtureBytes(name)
    const found = await inspect(Buffer.concat([bytes.subarray(0, 2000), junk(3000), bytes.subarray(2000)]), name)
    within(AUDIO.find((each) => each.name === name)?.durationSeconds ?? 0, found.durationSeconds, 0.04)
  })
})

describe('by the first bytes alone, where there was no time for more', () => {
  test.for(sound)('$name', ({ name, contentType }) => {
    const found = inspectHead(fixtureBytes(name).subarray(0, HEAD_BYTES), name)
    expect(found).toMatchObject({ contentType: contentType.replace('video/', 'audio/'), durationSeconds: null })
  })

  test('a tag is most likely an MP3’s', () => {
    expect(inspectHead(id3(zeros(9000)).subarray(0, HEAD_BYTES), 'call.mp3')).toMatchObject({
      contentType: 'audio/mpeg',
      mediaCheck: 'ok',
    })
  })

  test('nothing known goes by its extension, unrecognised', () => {
    expect(inspectHead(junk(4000), 'call.m4a')).toMatchObject({ contentType: 'audio/mp4', mediaCheck: 'unrecognised' })
  })
})

describe('by the bytes', () => {
  test.for([...AUDIO, ...VIDEO])('$name is $contentType', async ({ name, contentType, durationSeconds }) => {
    const found = await inspect(fixtureBytes(name), 'misnamed.wav')
    expect(found).toMatchObject({ contentType, mediaCheck: 'ok' })
    if (durationSeconds === null) expect(found.durationSeconds).toBeNull()
    else expect(found.durationSeconds).toBeCloseTo(durationSeconds, 0.9)
  })

  test.for([
    ['nothing', Buffer.alloc(0)],
    ['one byte', Buffer.from([0xff])],
    ['silence without a header', Buffer.alloc(100_000)],
    ['a page', Buffer.from('<!doctype html><script>alert(1)</script>')],
    ['a picture', Buffer.from('89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489', 'hex')],
    ['what begins like AAC and is not', Buffer.from([0xff, 0xf1, 0x50, 0x80, 0x02, 0x1f, 0xfc, ...randomBytes(50)])],
    ['what begins like MP3 and is not', Buffer.concat([Buffer.from([0xff, 0xfb, 0x90, 0x64]), Buffer.alloc(9000)])],
    ['an M4A whose index never came', fixtureBytes('tone.m4a').subarray(0, 9000)],
  ] as const)('%s goes by its extension, unrecognised', async ([what, bytes]) => {
    expect(await inspect(bytes, 'call.m4a'), what).toEqual({
      contentType: 'audio/mp4',
      durationSeconds: null,
      mediaCheck: 'unrecognised',
      playsInBrowsers: false,
    })
  })

  test('an ID3 tag larger than the sniffed head is still an MP3 with its duration', async () => {
    const size = 200_000
    const tag = Buffer.alloc(10 + size)
    tag.write('ID3\x03\0\0', 'latin1')
    for (let i = 0; i < 4; i++) tag[6 + i] = (size >> (7 * (3 - i))) & 127
    const found = await inspect(Buffer.concat([tag, fixtureBytes('tone.mp3')]), 'call.mp3')
    expect(found).toMatchObject({ contentType: 'audio/mpeg', mediaCheck: 'ok' })
    expect(found.durationSeconds).toBeCloseTo(2.45, 0.9)
  })
})

describe('duration', () => {
  test.for([
    ['tone.aac', 0, 400],
    ['tone.mp3', 0, 400],
    ['tone.amr', 6, 2000],
  ] as const)('of a long %s is told by its frames', async ([name, head, times]) => {
    const once = AUDIO.find((f) => f.name === name)?.durationSeconds ?? 0
    const bytes = repeated(name, times, head)
    const { read, asked } = reader(bytes)
    const found = await inspectMedia(read, bytes.length, name)
    expect((found.durationSeconds ?? 0) / times).toBeCloseTo(once, 1)
    expect(asked.largest).toBeLessThanOrEqual(256 * 1024)
  })

  test('of a gigabyte of AAC is estimated without reading it all', async () => {
    const bytes = repeated('tone.aac', 5000) // 73 MiB
    const { read, asked } = reader(bytes)
    const found = await inspectMedia(read, bytes.length, 'long.aac')
    expect((found.durationSeconds ?? 0) / 5000).toBeCloseTo(2.41, 1)
    expect(asked.bytes).toBeLessThan(70 * 1024 * 1024)
  })
})

/** Without those of many megabytes. */
const SMALL_ODD = ODD.filter(({ what }) => !/M(i)?B/.test(what))

describe('hostile files', () => {
  test('random bytes cost one read of the head', async () => {
    const { read, asked } = reader(Buffer.concat([Buffer.from('not audio'), randomBytes(1024 * 1024)]))
    expect(await inspectMedia(read, 1024 * 1024, 'call.wav')).toMatchObject({ mediaCheck: 'unrecognised' })
    expect(asked).toEqual({ reads: 1, bytes: 4100, largest: 4100 })
  })

  test('boxes that claim to be huge are not read into memory', async () => {
    const bytes = Buffer.from(fixtureBytes('tone-faststart.m4a'))
    const moov = bytes.indexOf('stsz')
    bytes.writeUInt32BE(0x7fffffff, moov - 4)
    bytes.writeUInt32BE(0x1fffffff, moov + 12)
    const { read, asked } = reader(bytes)
    await expect(inspectMedia(read, 1024 ** 3, 'call.m4a')).resolves.toMatchObject({ contentType: 'audio/mp4' })
    expect(asked.largest).toBeLessThanOrEqual(256 * 1024)
  })

  test('no content makes it throw, read without end or ask for large pieces', async () => {
    const whole = [...sound.map(({ name }) => fixtureBytes(name)), ...SMALL_ODD.map(({ bytes }) => bytes())]
    const damaged = fc
      .record({
        head: fc.constantFrom(...whole),
        keep: fc.integer({ min: 4, max: 40_000 }),
        damage: fc.array(fc.tuple(fc.integer({ min: 4, max: 20_000 }), fc.integer({ min: 0, max: 255 })), {
          maxLength: 40,
        }),
        tail: fc.uint8Array({ maxLength: 300 }),
      })
      .map(({ head, keep, damage, tail }) => {
        const bytes = Buffer.concat([head.subarray(0, keep), tail])
        for (const [at, value] of damage) if (at < bytes.length) bytes[at] = value
        return bytes
      })
    await fc.assert(
      fc.asyncProperty(damaged, fc.boolean(), async (bytes, sizeLies) => {
        const { read, asked } = reader(bytes)
        const size = sizeLies ? 1024 ** 3 : bytes.length
        const pages = new Pages(read, size, bytes.subarray(0, HEAD_BYTES))
        const found = await walkMedia(pages, 'call.3gp').catch((error: unknown) => {
          if (!(error instanceof WorkExceeded)) throw error
        })
        if (found) {
          expect(found.contentType).toMatch(/^(audio|video)\//)
          if (found.durationSeconds !== null) expect(found.durationSeconds).toBeGreaterThan(0)
        }
        expect(asked.largest).toBeLessThanOrEqual(256 * 1024)
        expect(asked.bytes).toBeLessThanOrEqual(4 * 1024 * 1024)
      }),
      { numRuns: 3000 },
    )
  })

  test('a recording of more blocks than anyone counts is what it is, its duration untold', async () => {
    const once = liveWebm(60)
    const cluster = once.subarray(once.indexOf(Buffer.from('1f43b675', 'hex')))
    const size = 1024 ** 3
    let bytesRead = 0
    const read: ReadBytes = async (position, length) => {
      bytesRead += length
      const bytes = Buffer.alloc(length)
      for (let at = 0; at < length; ) {
        const from = position + at
        at +=
          once.subarray(from).copy(bytes, at) || cluster.subarray((from - once.length) % cluster.length).copy(bytes, at)
      }
      return bytes
    }
    expect(await inspectMedia(read, size, 'call.webm')).toEqual({
      contentType: 'audio/webm',
      durationSeconds: null,
      mediaCheck: 'ok',
      playsInBrowsers: true,
    })
    expect(bytesRead).toBeLessThan(258 * 1024 * 1024)
  })

  test('a read error of ours is not taken for bad media', async () => {
    for (const name of ['tone.3gp', 'tone.aac', 'tone.m4a', 'tone.mp3', 'tone.flac', 'tone.opus']) {
      const bytes = fixtureBytes(name)
      let reads = 0
      const read: ReadBytes = async (position, length) => {
        if (++reads > 1) throw Object.assign(new Error('disk'), { code: 'EIO' })
        return bytes.subarray(position, position + length)
      }
      await expect(inspectMedia(read, bytes.length, name), name).rejects.toMatchObject({ code: 'EIO' })
    }
  })
})
