/**
 * What RFC 9110 and the contract say of playback, over real HTTP. One list, for the service by itself and for the
 * service behind nginx: both have to answer alike.
 */
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { AUDIO, fixtureBytes, VIDEO } from './fixtures.ts'
import { type Answer, ask } from './http.ts'
import { rangeHeader } from './range-arbitrary.ts'
import { referenceAnswer } from './range-reference.ts'
import { offsets, record } from './recordings.ts'
import type { TestService } from './service.ts'

const DIGITS = '0123456789'
const LONG = offsets(40_000)
const HUGE = offsets(3_000_000)

interface Setup {
  service: TestService
  /** The origin to ask, where it is not the service itself. */
  origin: string
}

interface Played {
  id: string
  leadId: string
  etag: string
  lastModified: string
  get(headers?: Record<string, string>, query?: string): Promise<Answer>
  head(headers?: Record<string, string>): Promise<Answer>
}

const placeOf = (range: string | undefined) => Number(/^bytes (\d+)-/.exec(range ?? '')?.[1])

/** The parts of a multipart/byteranges body, read by its own boundary. */
function partsOf({ headers, text }: Answer) {
  const boundary = /^multipart\/byteranges; ?boundary="?([^"]+)"?$/.exec(headers['content-type'] ?? '')?.[1]
  expect(boundary).toBeDefined()
  const pieces = `\r\n${text.replace(/^\r\n/, '')}`.split(`\r\n--${boundary}`)
  expect(pieces.shift()).toBe('')
  expect(pieces.pop()?.trim()).toBe('--')
  return pieces.map((piece) => {
    const [head = '', ...body] = piece.split('\r\n\r\n')
    return {
      range: /content-range: ([^\r]+)/i.exec(head)?.[1],
      type: /content-type: ([^\r]+)/i.exec(head)?.[1],
      body: body.join('\r\n\r\n'),
    }
  })
}

export function playbackCases(setup: () => Promise<Setup>, behindNginx: boolean): void {
  let service: TestService
  let play: (bytes: Uint8Array | string, filename?: string) => Promise<Played>
  let digits: Played
  let long: Played

  beforeAll(async () => {
    const made = await setup()
    service = made.service
    play = async (bytes, filename) => {
      const { id, leadId } = await record(service, bytes, { filename })
      const url = `${made.origin}/api/leads/${leadId}/recordings/${id}`
      const authorization = `Bearer ${service.tokens.supervisor}`
      const head = (headers = {}) => ask(url, 'HEAD', { authorization, ...headers })
      const first = await head()
      return {
        id,
        leadId,
        etag: first.headers.etag ?? '',
        lastModified: first.headers['last-modified'] ?? '',
        head,
        get: (headers = {}, query = '') => ask(url + query, 'GET', { authorization, ...headers }),
      }
    }
    digits = await play(DIGITS)
    long = await play(LONG)
  })

  describe('the whole (RFC 9110 §15.3.1)', () => {
    test('comes with everything a player and a browser need to know', async () => {
      const { status, headers, text } = await digits.get()
      expect({ status, text }).toEqual({ status: 200, text: DIGITS })
      expect(headers).toMatchObject({
        'content-type': 'audio/wav',
        'content-length': '10',
        'accept-ranges': 'bytes',
        etag: `"${createHash('sha256').update(DIGITS).digest('hex')}"`,
        'cache-control': 'private, no-cache, no-transform',
        'content-disposition': 'inline; filename=call.wav',
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'repr-digest': `sha-256=:${createHash('sha256').update(DIGITS).digest('base64')}:`,
        'cross-origin-resource-policy': 'cross-origin',
      })
      expect(headers['content-security-policy']).toMatch(/^default-src 'none'.*; sandbox$/)
      expect(new Date(headers['last-modified'] ?? '').toUTCString()).toBe(headers['last-modified'])
      expect(headers).not.toHaveProperty('transfer-encoding')
      expect(headers).not.toHaveProperty('content-encoding')
      expect(headers).not.toHaveProperty('x-accel-redirect')
    })

    test.for([1, 65_535, 65_536, 65_537, 262_144, 262_145, 3_000_000])('of %i bytes arrives as it is', async (size) => {
      const sized = await play(HUGE.subarray(0, size))
      const { headers, body } = await sized.get({ 'accept-encoding': 'gzip, br' })
      expect(headers['content-length']).toBe(String(size))
      expect(body.equals(HUGE.subarray(0, size))).toBe(true)
    })

    test('HEAD answers as GET without a body, and ignores Range (§9.3.2, §14.2)', async () => {
      const { status, headers, body } = await digits.head({ range: 'bytes=0-1', 'if-range': digits.etag })
      expect({ status, length: body.length }).toEqual({ status: 200, length: 0 })
      const got = (await digits.get()).headers
      for (const name of ['date', 'x-request-id', 'connection', 'keep-alive', 'server', 'vary']) {
        delete got[name]
        delete headers[name]
      }
      expect(headers).toEqual(got)
    })
  })

  describe('ranges of ten bytes (§14)', () => {
    test.for([
      ['bytes=0-0', 206, 'bytes 0-0/10', '0'],
      ['bytes=9-9', 206, 'bytes 9-9/10', '9'],
      ['bytes=4-', 206, 'bytes 4-9/10', '456789'],
      ['bytes=2-99', 206, 'bytes 2-9/10', '23456789'],
      ['bytes=-3', 206, 'bytes 7-9/10', '789'],
      ['bytes=-10', 206, 'bytes 0-9/10', DIGITS],
      ['bytes=-99', 206, 'bytes 0-9/10', DIGITS],
      ['bytes=0-9007199254740993', 206, 'bytes 0-9/10', DIGITS],
      ['bytes=0-99999999999999999999999999', 206, 'bytes 0-9/10', DIGITS],
      ['BYTES=1-2', 206, 'bytes 1-2/10', '12'],
      ['bytes=1-2,3-4', 206, 'bytes 1-4/10', '1234'],
      ['bytes=1-2,20-30', 206, 'bytes 1-2/10', '12'],
      ['bytes=0-1,5-6', 200, undefined, DIGITS],
      ['items=0-1', 200, undefined, DIGITS],
      ['bytes', 200, undefined, DIGITS],
      ['bytes=10-', 416, 'bytes */10', undefined],
      ['bytes=-0', 416, 'bytes */10', undefined],
      ['bytes=5-3', 416, 'bytes */10', undefined],
      ['bytes=a-b', 416, 'bytes */10', undefined],
      ['bytes=', 416, 'bytes */10', undefined],
      ['bytes=99999999999999999999999999-', 416, 'bytes */10', undefined],
    ] as const)('%s answers %i', async ([range, status, contentRange, body]) => {
      const res = await digits.get({ range })
      expect(res.status).toBe(status)
      expect(res.headers['content-range']).toBe(contentRange)
      if (body === undefined) {
        expect(res.headers['content-type']).toMatch(/^application\/problem\+json/)
        expect(JSON.parse(res.text)).toMatchObject({ status, code: 'range_not_satisfiable' })
      } else {
        expect(res.text).toBe(body)
        expect(res.headers['content-length']).toBe(String(body.length))
        expect(res.headers).toMatchObject({ etag: digits.etag, 'content-type': 'audio/wav', 'accept-ranges': 'bytes' })
      }
    })
  })

  describe('several ranges (§14.6, §15.3.7.2)', () => {
    test('come as parts that tell their place, in the order asked for', async () => {
      const res = await long.get({ range: 'bytes=8000-8015, 0-7, -8' })
      expect(res.status).toBe(206)
      expect(res.headers['content-length']).toBe(String(res.body.length))
      expect(res.headers['content-range']).toBeUndefined()
      expect(partsOf(res)).toEqual([
        { range: 'bytes 8000-8015/40000', type: 'audio/wav', body: '0000800000008008' },
        { range: 'bytes 0-7/40000', type: 'audio/wav', body: '00000000' },
        { range: 'bytes 39992-39999/40000', type: 'audio/wav', body: '00039992' },
      ])
    })

    test('that overlap or touch are sent once', async () => {
      const res = await long.get({ range: 'bytes=0-99,50-149,150-199,1000-1007' })
      expect(partsOf(res).map(({ range }) => range)).toEqual(['bytes 0-199/40000', 'bytes 1000-1007/40000'])
    })

    test('more than sixteen, or more than the recording itself, are the whole', async () => {
      const seventeen = Array.from({ length: 17 }, (_, i) => `${i * 100}-${i * 100}`).join(',')
      for (const range of [`bytes=${seventeen}`, 'bytes=0-19999,20002-39999']) {
        const res = await long.get({ range })
        expect(res.status).toBe(200)
        expect(res.body.equals(LONG)).toBe(true)
      }
    })

    test('of large parts arrive whole', async () => {
      const huge = await play(HUGE)
      const parts = partsOf(await huge.get({ range: 'bytes=0-999999,2000000-2999999' }))
      expect(parts.map(({ body }) => body)).toEqual([
        HUGE.toString('latin1', 0, 1_000_000),
        HUGE.toString('latin1', 2_000_000),
      ])
    })
  })

  test('for any Range header, the answer is the reference', async () => {
    const sendable = fc
      .oneof(rangeHeader(10), rangeHeader(40_000))
      .filter((header) => /^[\t -~]*$/.test(header))
      .map((header) => header.trim())
    await fc.assert(
      fc.asyncProperty(sendable, fc.boolean(), async (range, isLong) => {
        const bytes = isLong ? LONG : Buffer.from(DIGITS)
        const expected = referenceAnswer(range, bytes.length)
        const res = await (isLong ? long : digits).get({ range })
        expect(res.headers['content-length']).toBe(String(res.body.length))
        if (expected.status !== 206) {
          expect(res.status).toBe(expected.status)
          return
        }
        if (res.status === 200) {
          // Allowed for several parts alone: too many, or no shorter than the whole.
          expect(expected.runs.length).toBeGreaterThan(1)
          expect(res.body.equals(bytes)).toBe(true)
          return
        }
        expect(res.status).toBe(206)
        const got = res.headers['content-range']
          ? [{ range: res.headers['content-range'], body: res.text }]
          : partsOf(res)
        expect(got.length).toBeLessThanOrEqual(16)
        expect(res.body.length).toBeLessThanOrEqual(bytes.length)
        const asked = expected.runs.map(([first, last]) => ({
          range: `bytes ${first}-${last}/${bytes.length}`,
          body: bytes.toString('latin1', first, last + 1),
        }))
        const byPlace = (a: { range?: string }, b: { range?: string }) => placeOf(a.range) - placeOf(b.range)
        expect(got.map(({ range, body }) => ({ range, body })).sort(byPlace)).toEqual(asked)
      }),
      { numRuns: 300 },
    )
  })

  describe('preconditions (§13)', () => {
    const BEFORE = 'Thu, 01 Jan 2015 00:00:00 GMT'
    const AFTER = 'Fri, 01 Jan 2049 00:00:00 GMT'

    test.for([
      ['If-None-Match: the tag', { 'if-none-match': 'ETAG' }, 304],
      ['If-None-Match: the tag, weak', { 'if-none-match': '"x", W/ETAG' }, 304],
      ['If-None-Match: *', { 'if-none-match': '*' }, 304],
      ['If-None-Match: another', { 'if-none-match': '"x"' }, 200],
      ['If-None-Match: another, with a range', { 'if-none-match': '"x"', range: 'bytes=1-2' }, 206],
      ['If-None-Match before Range', { 'if-none-match': 'ETAG', range: 'bytes=99-' }, 304],
      ['If-None-Match over If-Modified-Since', { 'if-none-match': '"x"', 'if-modified-since': AFTER }, 200],
      ['If-Match: the tag', { 'if-match': '"x", ETAG' }, 200],
      ['If-Match: the tag, with a range', { 'if-match': 'ETAG', range: 'bytes=1-2' }, 206],
      ['If-Match: the tag, weak', { 'if-match': 'W/ETAG' }, 412],
      ['If-Match: another', { 'if-match': '"x"' }, 412],
      ['If-Match: another, before If-None-Match', { 'if-match': '"x"', 'if-none-match': 'ETAG' }, 412],
      ['If-Modified-Since: its own date', { 'if-modified-since': 'DATE' }, 304],
      ['If-Modified-Since: later', { 'if-modified-since': AFTER }, 304],
      ['If-Modified-Since: earlier', { 'if-modified-since': BEFORE }, 200],
      ['If-Modified-Since: no date', { 'if-modified-since': '2049-01-01' }, 200],
      ['If-Unmodified-Since: its own date', { 'if-unmodified-since': 'DATE' }, 200],
      ['If-Unmodified-Since: earlier', { 'if-unmodified-since': BEFORE }, 412],
      ['If-Unmodified-Since: earlier, but If-Match holds', { 'if-unmodified-since': BEFORE, 'if-match': '*' }, 200],
      ['If-Range: the tag', { 'if-range': 'ETAG', range: 'bytes=1-2' }, 206],
      ['If-Range: the tag, weak', { 'if-range': 'W/ETAG', range: 'bytes=1-2' }, 200],
      ['If-Range: another', { 'if-range': '"x"', range: 'bytes=1-2' }, 200],
      ['If-Range: another, and a range that is not there', { 'if-range': '"x"', range: 'bytes=99-' }, 200],
      ['If-Range: its own date', { 'if-range': 'DATE', range: 'bytes=1-2' }, 206],
      ['If-Range: later', { 'if-range': AFTER, range: 'bytes=1-2' }, 200],
      ['If-Range: earlier', { 'if-range': BEFORE, range: 'bytes=1-2' }, 200],
      ['If-Range without Range', { 'if-range': '"x"' }, 200],
    ] as [string, Record<string, string>, number][])('%s', async ([, conditions, status]) => {
      const filled = Object.entries(conditions).map(([name, value]) => [
        name,
        value.replace('ETAG', digits.etag).replace('DATE', digits.lastModified),
      ])
      const res = await digits.get(Object.fromEntries(filled))
      expect(res.status).toBe(status)
      if (status === 412) return expect(JSON.parse(res.text)).toMatchObject({ code: 'precondition_failed' })
      expect(res.text).toBe({ 200: DIGITS, 206: '12', 304: '' }[status])
      expect(res.headers).toMatchObject({ etag: digits.etag, 'last-modified': digits.lastModified })
      expect(res.headers['cache-control']).toBe('private, no-cache, no-transform')
    })
  })

  describe('types and names', () => {
    test.for([...AUDIO, ...VIDEO])('$name is served as $contentType', async ({ name, contentType }) => {
      const bytes = fixtureBytes(name)
      const res = await (await play(bytes, name)).get()
      expect(res.headers['content-type']).toBe(contentType)
      expect(res.body.equals(bytes)).toBe(true)
    })

    test.for([
      ['Call with Anu.wav', 'filename="Call with Anu.wav"'],
      ['रिकॉर्डिंग.wav', `filename="??????????.wav"; filename*=UTF-8''${encodeURIComponent('रिकॉर्डिंग')}.wav`],
      ['50% "off".wav', `filename="50% \\"off\\".wav"`],
      ['%41.wav', `filename=%41.wav; filename*=UTF-8''%2541.wav`],
    ] as const)('%s keeps its name (RFC 6266)', async ([filename, parameters]) => {
      const named = await play('x', filename)
      expect((await named.get()).headers['content-disposition']).toBe(`inline; ${parameters}`)
      const download = await named.get({ range: 'bytes=0-0' }, '?download')
      expect(download.headers['content-disposition']).toBe(`attachment; ${parameters}`)
    })
  })

  describe('rights', () => {
    test.for([
      ['nobody', undefined, 401],
      ['another telecaller', 'other', 403],
      ['the telecaller', 'telecaller', 206],
      ['a supervisor', 'supervisor', 206],
      ['the CRM', 'crm', 206],
    ] as const)('$0 gets $2', async ([, who, status]) => {
      const headers = { range: 'bytes=0-0', authorization: who ? `Bearer ${service.tokens[who]}` : 'Basic eDp5' }
      const res = await digits.get(headers)
      expect(res.status).toBe(status)
      if (status === 401) expect(res.headers['www-authenticate']).toMatch(/^Bearer /)
      if (status !== 206) expect(res.headers).not.toHaveProperty('x-accel-redirect')
    })

    test('a page elsewhere may read what it needs', async () => {
      const res = await digits.get({ origin: 'https://crm.example', range: 'bytes=0-0' })
      expect(res.headers['access-control-allow-origin']).toBe('*')
      const exposed = res.headers['access-control-expose-headers']?.toLowerCase().split(/, ?/)
      for (const name of ['accept-ranges', 'content-range', 'content-length', 'content-disposition', 'etag']) {
        expect(exposed).toContain(name)
      }
    })
  })

  test(`one connection carries many answers${behindNginx ? ' through nginx' : ''}`, async () => {
    // The agent would fail at a wrong length: the next answer would begin in the middle.
    const answers = []
    const conditions: Record<string, string>[] = [
      {},
      { range: 'bytes=3-4' },
      { range: 'bytes=99-' },
      { 'if-none-match': '*' },
      {},
    ]
    for (const headers of conditions) {
      answers.push(await digits.get(headers))
      answers.push(await digits.head())
    }
    expect(answers.map(({ text }) => text.length)).toEqual([10, 0, 2, 0, expect.any(Number), 0, 0, 0, 10, 0])
  })
}
