/**
 * tus 1.0.0 and its extensions, requirement by requirement, each under the section that makes it. The ids in brackets
 * are those of github.com/sagikazarmark/tus-conformance-tests; the last test checks that none of them is forgotten.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { connectTo } from './support/raw.ts'
import { movingClock, startService, type TestLead, tokenFor } from './support/service.ts'
import { metadata, noise, OFFSET_TYPE, stagedBytes, tusClient } from './support/tus.ts'

const EXPIRES_AFTER_MS = 3_600_000
const MAX_BYTES = 50_000_000
const harness = await startService({
  env: { RECORDINGS_MAX_UPLOAD_SIZE: String(MAX_BYTES) },
})
const token = harness.tokens.telecaller
const tus = tusClient(token)
const lead = await harness.lead()
const VERSION = { 'tus-resumable': '1.0.0' }
const AUTHORIZED = { authorization: `Bearer ${token}` }
const call = { filename: 'call.wav', call_log_id: lead.callLogId }
const named = { 'upload-metadata': metadata(call) }

const digest = (algorithm: string, bytes: Uint8Array) => createHash(algorithm).update(bytes).digest('base64')
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const create = (headers: Record<string, string>, body?: Uint8Array) =>
  tus.create(lead.uploads, { ...named, ...headers }, body)
const begin = (length: number, headers: Record<string, string> = {}) =>
  create({ 'upload-length': String(length), ...headers }).then((res) => res.headers.get('location') as string)
const deferred = () => create({ 'upload-defer-length': '1' }).then((res) => res.headers.get('location') as string)
const offsetOf = async (url: string) => Number((await tus.head(url)).headers.get('upload-offset'))
const send = (method: string, url: string, headers: Record<string, string>, body?: Uint8Array) =>
  fetch(url, { method, headers: { ...AUTHORIZED, ...headers }, ...(body && { body: Buffer.from(body) }) })
const kept = async (res: Response, of: TestLead = lead) => {
  const id = res.headers.get('recording-id')
  const played = await harness.api('GET', `${of.recordings}/${id}`)
  return Buffer.from(await played.arrayBuffer())
}
const connect = () => connectTo(harness.url, { 'Tus-Resumable': '1.0.0', Authorization: `Bearer ${token}` })

describe('Core § Upload-Offset, § Upload-Length', () => {
  const NOT_PLAIN = ['-1', '+1', '1.0', '1e3', '0x10', '007', 'ten', '', ' ', '1 1', '1,1', '１']

  test.for(NOT_PLAIN.slice(0, -1))('a length of "%s" is no non-negative integer: 400', async (length) => {
    expect((await create({ 'upload-length': length })).status).toBe(400)
  })
  test.for(NOT_PLAIN.slice(0, -1))('nor is an offset of "%s": 400, and nothing is written', async (offset) => {
    const url = await begin(10)
    expect(
      (await send('PATCH', url, { ...VERSION, 'content-type': OFFSET_TYPE, 'upload-offset': offset }, noise(1))).status,
    ).toBe(400)
    expect(await offsetOf(url)).toBe(0)
  })
  test('nor is a length that comes with a PATCH', async () => {
    const url = await deferred()
    for (const length of ['-1', '1e3', '1.5']) {
      expect((await tus.patch(url, 0, noise(1), { 'upload-length': length })).status).toBe(400)
    }
    expect(await offsetOf(url)).toBe(0)
  })
  test('[OPT-STORE-003] a length beyond counting is too large: 413', async () => {
    expect((await create({ 'upload-length': '9'.repeat(30) })).status).toBe(413)
  })
  test('an offset beyond counting is not where the upload stands: 409', async () => {
    expect((await tus.patch(await begin(10), 0, noise(1), { 'upload-offset': '9'.repeat(30) })).status).toBe(409)
  })
})

describe('Core § Tus-Resumable', () => {
  test.for([
    ['HEAD', '[CP-HEAD-003]'],
    ['PATCH', '[CP-PATCH-001]'],
    ['POST', '[EXT-CREATE-003]'],
    ['DELETE', '[EXT-TERM-002]'],
  ] as const)('%s without it is 412 with Tus-Version, and nothing is done %s [CP-VER-002]', async ([method]) => {
    const url = await begin(10)
    const res = await send(method, method === 'POST' ? lead.uploads : url, {
      ...named,
      'upload-length': '10',
      'upload-offset': '0',
      'content-type': OFFSET_TYPE,
    })
    expect(res.status).toBe(412)
    expect(res.headers.get('tus-version')).toBe('1.0.0')
    expect(res.headers.get('tus-resumable')).toBe('1.0.0')
    expect(res.headers.get('location')).toBeNull()
    expect(await offsetOf(url)).toBe(0)
  })
  test.for(['0.2.2', '1.0', '2.0.0', '1.0.0, 1.0.0', ''])(
    'version "%s" is refused the same way [CP-VER-001]',
    async (version) => {
      const res = await send('HEAD', await begin(10), { 'tus-resumable': version })
      expect(res.status).toBe(412)
      expect(res.headers.get('tus-version')).toBe('1.0.0')
      expect(res.headers.get('upload-offset')).toBeNull()
    },
  )
  test('version 1.0.0 is spoken [CP-VER-003]', async () => {
    expect((await tus.head(await begin(10))).status).toBe(200)
  })
  test('it is in every answer, in those of errors too [CP-HEAD-006] [CP-PATCH-009]', async () => {
    const url = await begin(10)
    const answers = [
      await tus.head(url),
      await tus.patch(url, 0, noise(2)),
      await tus.patch(url, 7, noise(2)),
      await create({ 'upload-length': '5' }),
      await create({ 'upload-length': 'x' }),
      await tus.head(`${lead.uploads}/unknown`),
      await tus.head(`${lead.uploads}/%zz`),
      await tus.head(`${harness.url}/api/leads/%zz/uploads/a`),
      await send('HEAD', url, { ...VERSION, authorization: 'Bearer no' }),
      await send('GET', url, VERSION),
      await send('PUT', lead.uploads, VERSION),
      await tus.terminate(url),
      await fetch(lead.uploads, { method: 'OPTIONS' }),
    ]
    expect(answers.map((res) => res.status)).toEqual([200, 204, 409, 201, 400, 404, 400, 400, 401, 405, 405, 204, 204])
    for (const res of answers) expect(res.headers.get('tus-resumable')).toBe('1.0.0')
  })
})

describe('Core § X-HTTP-Method-Override', () => {
  const overriding = (url: string, method: string, headers: Record<string, string> = {}, body?: Uint8Array) =>
    send('POST', url, { ...VERSION, 'x-http-method-override': method, ...headers }, body)

  test('a POST is what it says: PATCH, HEAD, DELETE', async () => {
    const bytes = noise(10)
    const url = await begin(10)
    const patched = await overriding(
      url,
      'PATCH',
      { 'content-type': OFFSET_TYPE, 'upload-offset': '0' },
      bytes.subarray(0, 4),
    )
    expect(patched.status).toBe(204)
    expect(patched.headers.get('upload-offset')).toBe('4')
    const head = await overriding(url, 'head')
    expect(head.headers.get('upload-offset')).toBe('4')
    expect((await overriding(url, 'DELETE')).status).toBe(204)
    expect((await tus.head(url)).status).toBe(410)
  })
  test('on any other method it counts for nothing', async () => {
    const url = await begin(10)
    const res = await send('HEAD', url, { ...VERSION, 'x-http-method-override': 'DELETE' })
    expect(res.headers.get('upload-offset')).toBe('0')
    expect(await offsetOf(url)).toBe(0)
  })
  test('a method that the address does not take stays 405', async () => {
    expect((await overriding(await begin(10), 'PUT')).status).toBe(405)
    expect((await overriding(lead.uploads, 'DELETE')).status).toBe(405)
    expect((await overriding(lead.uploads, 'POST', { ...named, 'upload-length': '5' })).status).toBe(201)
  })
})

describe('Core § HEAD', () => {
  test('tells the offset, of a new upload as well, and the length [CP-HEAD-001] [CP-HEAD-002] [CP-HEAD-007] [SCN-RESUME-001]', async () => {
    const res = await tus.head(await begin(10))
    expect(res.status).toBe(200)
    expect(res.headers.get('upload-offset')).toBe('0')
    expect(res.headers.get('upload-length')).toBe('10')
  })
  test('of a finished upload too, with its recording [OPT-COMP-002] [OPT-EXP-002] [OPT-COMP-003]', async () => {
    const bytes = noise(10)
    const url = await begin(10)
    const last = await tus.patch(url, 0, bytes)
    const res = await tus.head(url)
    expect(res.headers.get('upload-offset')).toBe('10')
    expect(res.headers.get('upload-length')).toBe('10')
    expect(res.headers.get('recording-id')).toBe(last.headers.get('recording-id'))
    expect(res.headers.get('content-location')).toBe(`${lead.recordings}/${last.headers.get('recording-id')}`)
    expect(res.headers.get('repr-digest')).toBe(`sha-256=:${digest('sha256', bytes)}:`)
    expect(res.headers.get('upload-expires')).toBeNull()
  })
  test('is not cached [CP-HEAD-004]', async () => {
    expect((await tus.head(await begin(10))).headers.get('cache-control')).toBe('no-store')
  })
  test.for([
    ['an unknown id', 'unknown'],
    ['an id with a dot', 'a.json'],
    ['an escape', '%2e%2e%2fleads'],
    ['a broken escape', '%zz'],
    ['10 KB', 'x'.repeat(10_240)],
    ['a query alone', '?a=b'],
    ['a NUL', '%00'],
  ] as const)('%s is no upload: a 4xx without Upload-Offset [CP-HEAD-005]', async ([, id]) => {
    for (const method of ['HEAD', 'PATCH', 'DELETE']) {
      const res = await send(method, `${lead.uploads}/${id}`, {
        ...VERSION,
        'upload-offset': '0',
        'content-type': OFFSET_TYPE,
      })
      expect(res.status).toBeGreaterThanOrEqual(400)
      expect(res.status).toBeLessThan(500)
      expect(res.headers.get('upload-offset')).toBeNull()
    }
  })
  test('a query is no part of the id, and known to no address', async () => {
    const url = await begin(10)
    const res = await tus.patch(`${url}?signature=a/b`, 0, noise(3))
    expect([res.status, await res.text()]).toEqual([400, expect.stringContaining('signature')])
    expect((await tus.head(`${url}?`)).headers.get('upload-offset')).toBe('0')
  })
  test('while a PATCH is under way it tells what is stored, and the PATCH ends [OPT-CONC-002]', async () => {
    const url = await begin(1_000)
    const connection = await connect()
    connection.head('PATCH', url, { 'Upload-Offset': '0', 'Content-Type': OFFSET_TYPE, 'Content-Length': '1000' })
    connection.send(noise(300))
    const offset = await offsetOf(url)
    expect(offset).toBeLessThanOrEqual(300)
    expect(await offsetOf(url)).toBe(offset)
    connection.destroy()
  })
})

describe('Core § PATCH', () => {
  test('stores the bytes at the offset and answers 204 with the new one [CP-PATCH-006] [CP-PATCH-007] [SCN-BASIC-001]', async () => {
    const bytes = noise(12)
    const url = await begin(12)
    const res = await tus.patch(url, 0, bytes)
    expect(res.status).toBe(204)
    expect(res.headers.get('upload-offset')).toBe('12')
    expect(await kept(res)).toEqual(bytes)
  })
  test('one after the other, as far apart as one likes [SCN-BASIC-002] [SCN-BASIC-003] [SCN-RESUME-002] [SCN-RESUME-003] [SCN-RESUME-004] [OPT-PARTIAL-001] [OPT-PARTIAL-002] [OPT-PARTIAL-003]', async () => {
    const bytes = noise(10_000)
    const url = await begin(10_000)
    let last: Response | undefined
    for (const [from, to] of [
      [0, 2_500],
      [2_500, 5_000],
      [5_000, 9_900],
      [9_900, 9_900],
      [9_900, 10_000],
    ] as const) {
      expect(await offsetOf(url)).toBe(from)
      last = await tus.patch(url, from, bytes.subarray(from, to))
      expect([last.status, last.headers.get('upload-offset')]).toEqual([204, String(to)])
    }
    expect(await kept(last as Response)).toEqual(bytes)
  })
  test.for([
    ['none', undefined],
    ['another', 'application/octet-stream'],
    ['audio', 'audio/wav'],
  ] as const)('of %s type is 415, and nothing is written [CP-PATCH-002] [CP-PATCH-003]', async ([, type]) => {
    const url = await begin(10)
    const connection = await connect()
    connection.head('PATCH', url, {
      'Upload-Offset': '0',
      'Content-Length': '4',
      ...(type && { 'Content-Type': type }),
    })
    connection.send('abcd')
    expect((await connection.answer()).status).toBe(415)
    connection.destroy()
    expect(await offsetOf(url)).toBe(0)
  })
  test('of the type in capitals, or with a parameter, is the type (RFC 9110 §8.3.1)', async () => {
    const url = await begin(10)
    expect((await tus.patch(url, 0, noise(1), { 'content-type': 'Application/Offset+Octet-Stream' })).status).toBe(204)
    expect((await tus.patch(url, 1, noise(1), { 'content-type': `${OFFSET_TYPE}; charset=utf-8` })).status).toBe(204)
  })
  test('without Upload-Offset is 400 [CP-PATCH-004]', async () => {
    expect((await send('PATCH', await begin(10), { ...VERSION, 'content-type': OFFSET_TYPE }, noise(1))).status).toBe(
      400,
    )
  })
  test('at another offset is 409 with the right one, and nothing is written [CP-PATCH-005] [OPT-ERR-002] [SCN-ERROR-001]', async () => {
    const url = await begin(10)
    await tus.patch(url, 0, noise(3))
    for (const offset of [0, 2, 4, 10, 99]) {
      const res = await tus.patch(url, offset, noise(1))
      expect([res.status, res.headers.get('upload-offset')]).toEqual([409, '3'])
      expect(res.headers.get('upload-expires')).not.toBeNull()
    }
    expect((await tus.patch(url, 3, noise(7))).status).toBe(204)
  })
  test('of more than is missing is 413 before a byte is written [CP-PATCH-010]', async () => {
    const url = await begin(10)
    await tus.patch(url, 0, noise(3))
    expect((await tus.patch(url, 3, noise(8))).status).toBe(413)
    expect(await offsetOf(url)).toBe(3)
  })
  test('in chunks without end stops at the declared length', async () => {
    const bytes = noise(10)
    const url = await begin(10)
    const connection = await connect()
    connection.head('PATCH', url, { 'Upload-Offset': '0', 'Content-Type': OFFSET_TYPE, 'Transfer-Encoding': 'chunked' })
    connection.chunk(bytes)
    connection.chunk(noise(100_000))
    const answer = await connection.answer()
    expect([answer.status, answer.headers.get('upload-offset')]).toEqual([204, '10'])
    connection.destroy()
    expect(await kept(await tus.head(url))).toEqual(bytes)
  })
  test('in chunks without end stops at the largest size where the length is deferred: 413', async () => {
    const small = await startService({ env: { RECORDINGS_MAX_UPLOAD_SIZE: '1000' } })
    const at = await small.lead()
    const client = tusClient(small.tokens.telecaller)
    const made = await client.create(at.uploads, {
      'upload-defer-length': '1',
      'upload-metadata': metadata({ filename: 'a.wav', call_log_id: at.callLogId }),
    })
    const url = made.headers.get('location') as string
    const connection = await connectTo(small.url, {
      'Tus-Resumable': '1.0.0',
      Authorization: `Bearer ${small.tokens.telecaller}`,
    })
    connection.head('PATCH', url, { 'Upload-Offset': '0', 'Content-Type': OFFSET_TYPE, 'Transfer-Encoding': 'chunked' })
    connection.chunk(noise(5_000))
    expect((await connection.answer()).status).toBe(413)
    connection.destroy()
    expect((await client.head(url)).headers.get('upload-offset')).toBe('1000')
  })
  test('of an unknown upload is 404 [CP-PATCH-008]', async () => {
    expect((await tus.patch(`${lead.uploads}/unknown`, 0, noise(1))).status).toBe(404)
  })
  test('of a finished upload changes nothing [OPT-COMP-001]', async () => {
    const url = await begin(10)
    await tus.patch(url, 0, noise(10))
    expect((await tus.patch(url, 0, noise(10))).status).toBe(409)
    expect((await tus.patch(url, 10, noise(1))).status).toBe(413)
    const empty = await tus.patch(url, 10, noise(0))
    expect([empty.status, empty.headers.get('upload-offset')]).toEqual([204, '10'])
  })
  test('whose line dies keeps what has come [OPT-TIME-003]', async () => {
    const bytes = noise(1_000)
    const url = await begin(1_000)
    const connection = await connect()
    connection.head('PATCH', url, { 'Upload-Offset': '0', 'Content-Type': OFFSET_TYPE, 'Content-Length': '1000' })
    connection.send(bytes.subarray(0, 600))
    await expect.poll(() => stagedBytes(harness, url), { timeout: 5_000 }).toBe(600)
    connection.destroy()
    expect(await offsetOf(url)).toBe(600)
    expect(await kept(await tus.patch(url, 600, bytes.subarray(600)))).toEqual(bytes)
  })
  test('two at once: one of them writes, the other is told so [OPT-CONC-001]', async () => {
    const bytes = noise(200_000)
    const url = await begin(200_000)
    const both = await Promise.all([tus.patch(url, 0, bytes), tus.patch(url, 0, bytes)])
    expect(both.map((res) => res.status).filter((status) => status === 204).length).toBeLessThanOrEqual(1)
    for (const res of both) expect([204, 409, 423]).toContain(res.status)
    const offset = await offsetOf(url)
    if (offset < 200_000) expect((await tus.patch(url, offset, bytes.subarray(offset))).status).toBe(204)
    expect(await kept(await tus.head(url))).toEqual(bytes)
  })
})

describe('Core § OPTIONS', () => {
  test.for(['', '/any'])(
    '%s tells versions, extensions and limits, without a token or a version [CP-OPT-001] [CP-OPT-002] [CP-OPT-003] [CP-OPT-004] [CP-OPT-005]',
    async (under) => {
      for (const headers of [{}, { 'tus-resumable': '0.1' }]) {
        const res = await fetch(lead.uploads + under, { method: 'OPTIONS', headers })
        expect(res.status).toBe(204)
        expect(res.headers.get('tus-version')).toBe('1.0.0')
        expect(res.headers.get('tus-max-size')).toBe(String(MAX_BYTES))
        expect(res.headers.get('tus-extension')?.split(',').sort()).toEqual([
          'checksum',
          'checksum-trailer',
          'concatenation',
          'creation',
          'creation-defer-length',
          'creation-with-upload',
          'expiration',
          'termination',
        ])
        expect(res.headers.get('tus-checksum-algorithm')).toBe('sha256,sha1,sha512,md5')
      }
    },
  )
})

describe('Core: errors', () => {
  test('have a code and a sentence that names what is wrong [CP-ERR-001] [CP-ERR-002]', async () => {
    const res = await create({ 'upload-length': 'ten' })
    expect(res.headers.get('content-type')).toBe('text/plain; charset=utf-8')
    expect(await res.text()).toBe('invalid_length: Upload-Length must be a plain non-negative integer.\n')
  })
  test('and answers can be read by a page elsewhere: all that a client needs [OPT-URL-003]', async () => {
    const origin = { origin: 'https://crm.example' }
    const url = await begin(10)
    const answers = [
      await create({ 'upload-length': '10', ...origin }),
      await create({ 'upload-length': 'x', ...origin }),
      await send('HEAD', url, { ...VERSION, ...origin }),
      await send('HEAD', `${url}x`, { ...VERSION, ...origin }),
      await send('HEAD', url, origin),
      await fetch(url, { method: 'HEAD', headers: { ...VERSION, ...origin } }),
      await send('DELETE', url, { ...VERSION, ...origin }),
    ]
    for (const res of answers) {
      expect(res.headers.get('access-control-allow-origin')).toBe('*')
      const exposed = res.headers.get('access-control-expose-headers')?.toLowerCase().split(',')
      for (const [name] of res.headers) {
        if (/^(upload|tus|recording|content-location|location|repr|retry|www)/.test(name))
          expect(exposed).toContain(name)
      }
      for (const name of [
        'upload-expires',
        'upload-concat',
        'recording-id',
        'content-location',
        'repr-digest',
        'retry-after',
      ]) {
        expect(exposed).toContain(name)
      }
    }
  })
  test('a preflight is answered without a token, for every header a client sends', async () => {
    const asked = 'authorization,tus-resumable,upload-offset,upload-checksum,content-type,repr-digest,upload-concat'
    const res = await fetch(`${lead.uploads}/any`, {
      method: 'OPTIONS',
      headers: {
        origin: 'https://crm.example',
        'access-control-request-method': 'PATCH',
        'access-control-request-headers': asked,
      },
    })
    expect(res.status).toBe(204)
    expect(res.headers.get('access-control-allow-methods')).toContain('PATCH')
    expect(res.headers.get('access-control-allow-headers')).toBe(asked)
  })
  test('a header that a proxy added is not taken for one of tus', async () => {
    const url = await begin(10, { 'x-forwarded-proto': 'https,http', 'x-forwarded-host': 'a, b' })
    expect((await tus.patch(url, 0, noise(1), { 'x-forwarded-proto': 'wss', 'tus-version': '9' })).status).toBe(204)
  })
})

describe('Creation § POST', () => {
  test('answers 201 with the address, absolute and to be used as it is [EXT-CREATE-001] [EXT-CREATE-002] [EXT-CREATE-009] [OPT-URL-001] [OPT-URL-002]', async () => {
    const res = await create({ 'upload-length': '10' })
    expect(res.status).toBe(201)
    expect(res.headers.get('location')).toMatch(new RegExp(`^${lead.uploads}/[0-9a-f-]{36}$`))
    expect((await tus.head(res.headers.get('location') as string)).status).toBe(200)
  })
  test('each makes an upload of its own [OPT-CONC-003]', async () => {
    const urls = await Promise.all(Array.from({ length: 5 }, () => begin(10)))
    expect(new Set(urls).size).toBe(5)
    for (const url of urls) await tus.terminate(url)
  })
  test('over Tus-Max-Size is 413 [EXT-CREATE-007]', async () => {
    expect((await create({ 'upload-length': String(MAX_BYTES + 1) })).status).toBe(413)
    expect((await create({ 'upload-length': String(MAX_BYTES) })).status).toBe(201)
  })
  test('of length 0 is refused, as a recording of nothing [EXT-CREATE-008] [SCN-BASIC-004]', async () => {
    const res = await create({ 'upload-length': '0' })
    expect(res.status).toBe(400)
    expect(await res.text()).toMatch(/^empty_upload: /)
  })
  test('without a length and without Upload-Defer-Length is 400', async () => {
    expect((await create({})).status).toBe(400)
  })
})

describe('Creation § Upload-Metadata', () => {
  const withMetadata = (header: string) => create({ 'upload-length': '10', 'upload-metadata': header })
  const good = metadata(call)

  test('is taken and told by HEAD as it came [EXT-CREATE-004] [EXT-CREATE-010] [OPT-META-006] [OPT-META-003]', async () => {
    const header = `${good},flag,empty ,binary ${Buffer.from([0, 255, 10, 13]).toString('base64')}`
    const res = await withMetadata(header)
    expect(res.status).toBe(201)
    expect((await tus.head(res.headers.get('location') as string)).headers.get('upload-metadata')).toBe(header)
  })
  test.for([
    ['empty', ''],
    ['two spaces', `${good},a  dGV4dA==`],
    ['a key twice [OPT-META-002]', `${good},filename dGV4dA==`],
    ['no Base64 [OPT-META-001] [EXT-CREATE-006]', `${good},a ###`],
    ['Base64 cut off', `${good},a dGV4d`],
    ['a key that is no ASCII [OPT-META-005] [EXT-CREATE-005]', `${good},\xe4 dGV4dA==`],
  ] as const)('%s is 400', async ([, header]) => {
    expect((await withMetadata(header)).status).toBe(400)
  })
  test('may have empty elements, which say nothing (RFC 9110 §5.6.1.2)', async () => {
    const res = await withMetadata(`,${good},, ,`)
    expect(res.status).toBe(201)
    expect((await tus.head(res.headers.get('location') as string)).headers.get('upload-metadata')).toBe(good)
  })
  test('may have white space around its commas, lack its padding, and come on two lines (RFC 9110 §5.3)', async () => {
    const bare = good.replaceAll('=', '')
    for (const [header, told] of [
      [good.replaceAll(',', ' , '), good],
      [good.replaceAll(',', '\t,'), good],
      [bare, bare],
      [`${good}, flag`, `${good},flag`],
    ] as const) {
      const res = await withMetadata(header)
      expect(res.status).toBe(201)
      expect((await tus.head(res.headers.get('location') as string)).headers.get('upload-metadata')).toBe(told)
    }
    const connection = await connect()
    const [first = '', ...others] = good.split(',')
    const lines = `${first}\r\nUpload-Metadata: ${others.join(',')}`
    connection.head('POST', lead.uploads, { 'Upload-Length': '10', 'Upload-Metadata': lines })
    const made = await connection.answer()
    expect(made.status).toBe(201)
    connection.head('HEAD', made.headers.get('location') as string)
    expect((await connection.answer()).headers.get('upload-metadata')).toBe(good)
    connection.destroy()
  })
  test('a pair that can not be read is named', async () => {
    for (const bad of ['a ###', 'a dGV4d', 'a  dGV4dA==', 'a b c']) {
      const res = await withMetadata(`${good}, ${bad}`)
      expect([res.status, await res.text()]).toEqual([400, expect.stringContaining(JSON.stringify(bad))])
    }
    expect(await (await withMetadata(`${good},filename eA==`)).text()).toContain('filename twice')
  })
  test('keys that JavaScript knows are keys like others', async () => {
    expect((await withMetadata(`${good},__proto__ dGV4dA==,constructor dGV4dA==,toString`)).status).toBe(201)
  })
  test('a file name that is no UTF-8 is 400', async () => {
    const header = `filename ${Buffer.from([0xff, 0xfe, 0x2e]).toString('base64')},call_log_id ${Buffer.from(call.call_log_id).toString('base64')}`
    expect((await withMetadata(header)).status).toBe(400)
  })
  test('a file name of many scripts is kept, and never a path', async () => {
    const url = await begin(5, { 'upload-metadata': metadata({ ...call, filename: '../../Größe/通話 📞.wav' }) })
    const id = (await tus.patch(url, 0, noise(5))).headers.get('recording-id')
    const details = await (await harness.api('GET', `${lead.recordings}/${id}/details`)).json()
    expect((details as { filename: string }).filename).toBe('通話 📞.wav')
  })
  test('more than a request may carry is 431, and nothing happens [OPT-META-004]', async () => {
    expect((await withMetadata(`${good},a ${'QUFB'.repeat(5_000)}`)).status).toBe(431)
  })
})

describe('Creation § Upload-Defer-Length', () => {
  test('leaves the length open: HEAD says so, and no length [EXT-DEFER-001] [EXT-DEFER-002]', async () => {
    const head = await tus.head(await deferred())
    expect(head.headers.get('upload-defer-length')).toBe('1')
    expect(head.headers.get('upload-length')).toBeNull()
    expect(head.headers.get('upload-offset')).toBe('0')
  })
  test.for(['0', '2', 'true', ''])('any other value than 1 is 400: "%s"', async (value) => {
    expect((await create({ 'upload-defer-length': value })).status).toBe(400)
  })
  test('beside Upload-Length it is 400 [EXT-DEFER-005]', async () => {
    expect((await create({ 'upload-defer-length': '1', 'upload-length': '10' })).status).toBe(400)
  })
  test('the length comes with the last bytes [EXT-DEFER-003]', async () => {
    const bytes = noise(10)
    const url = await deferred()
    expect((await tus.patch(url, 0, bytes.subarray(0, 6))).headers.get('recording-id')).toBeNull()
    const last = await tus.patch(url, 6, bytes.subarray(6), { 'upload-length': '10' })
    expect([last.status, last.headers.get('upload-offset')]).toEqual([204, '10'])
    expect(await kept(last)).toEqual(bytes)
    const head = await tus.head(url)
    expect(head.headers.get('upload-defer-length')).toBeNull()
    expect(head.headers.get('upload-length')).toBe('10')
  })
  test('or in a PATCH of its own', async () => {
    const bytes = noise(10)
    const url = await deferred()
    await tus.patch(url, 0, bytes)
    const last = await tus.patch(url, 10, noise(0), { 'upload-length': '10' })
    expect(last.status).toBe(204)
    expect(await kept(last)).toEqual(bytes)
  })
  test('or before the last bytes', async () => {
    const bytes = noise(10)
    const url = await deferred()
    await tus.patch(url, 0, bytes.subarray(0, 2), { 'upload-length': '10' })
    expect(await kept(await tus.patch(url, 2, bytes.subarray(2)))).toEqual(bytes)
  })
  test('and is fixed from then on; said again it is the same [EXT-DEFER-004] [OPT-STORE-002]', async () => {
    const url = await deferred()
    await tus.patch(url, 0, noise(2), { 'upload-length': '10' })
    expect((await tus.patch(url, 2, noise(1), { 'upload-length': '11' })).status).toBe(400)
    expect((await tus.patch(url, 2, noise(1), { 'upload-length': '9' })).status).toBe(400)
    expect(await offsetOf(url)).toBe(2)
    expect((await tus.patch(url, 2, noise(1), { 'upload-length': '10' })).status).toBe(204)
    const fixed = await begin(10)
    expect((await tus.patch(fixed, 0, noise(1), { 'upload-length': '20' })).status).toBe(400)
  })
  test('a length shorter than what has come, of nothing, or too large, is refused', async () => {
    const url = await deferred()
    expect((await tus.patch(url, 0, noise(0), { 'upload-length': '0' })).status).toBe(400)
    await tus.patch(url, 0, noise(5))
    expect((await tus.patch(url, 5, noise(0), { 'upload-length': '4' })).status).toBe(400)
    expect((await tus.patch(url, 5, noise(0), { 'upload-length': String(MAX_BYTES + 1) })).status).toBe(413)
    expect((await tus.head(url)).headers.get('upload-defer-length')).toBe('1')
  })
})

describe('Creation With Upload', () => {
  test('takes what the POST brings, and tells how much [EXT-CWU-001] [EXT-CWU-003] [EXT-CWU-004]', async () => {
    const bytes = noise(10)
    const res = await create({ 'upload-length': '10' }, bytes.subarray(0, 4))
    expect([res.status, res.headers.get('upload-offset')]).toEqual([201, '4'])
    const url = res.headers.get('location') as string
    expect(await kept(await tus.patch(url, 4, bytes.subarray(4)))).toEqual(bytes)
  })
  test('all of it at once is the recording [EXT-CWU-005]', async () => {
    const bytes = noise(10)
    const res = await create({ 'upload-length': '10' }, bytes)
    expect([res.status, res.headers.get('upload-offset')]).toEqual([201, '10'])
    expect(res.headers.get('repr-digest')).toBe(`sha-256=:${digest('sha256', bytes)}:`)
    expect(await kept(res)).toEqual(bytes)
  })
  test('of deferred length as well', async () => {
    const bytes = noise(10)
    const res = await create({ 'upload-defer-length': '1' }, bytes.subarray(0, 4))
    expect([res.status, res.headers.get('upload-offset')]).toEqual([201, '4'])
    const url = res.headers.get('location') as string
    expect(await kept(await tus.patch(url, 4, bytes.subarray(4), { 'upload-length': '10' }))).toEqual(bytes)
  })
  test('a body of another type is 415, and nothing is created [EXT-CWU-002]', async () => {
    const fresh = await harness.lead()
    const res = await tus.create(
      fresh.uploads,
      {
        'upload-length': '4',
        'upload-metadata': metadata({ ...call, call_log_id: fresh.callLogId }),
        'content-type': 'text/plain',
      },
      noise(4),
    )
    expect(res.status).toBe(415)
    expect(res.headers.get('location')).toBeNull()
  })
  test('no body of another type is a creation', async () => {
    expect((await create({ 'upload-length': '4', 'content-type': 'text/plain' })).status).toBe(201)
  })
  test('more than the upload is 413, and nothing is created', async () => {
    const before = await harness.files('uploads')
    const res = await create({ 'upload-length': '4' }, noise(5))
    expect([res.status, res.headers.get('location')]).toEqual([413, null])
    expect(await harness.files('uploads')).toEqual(before)
  })
  test('whose line dies leaves nothing, since nobody knows its address', async () => {
    const before = await harness.files('uploads')
    const connection = await connect()
    connection.head('POST', lead.uploads, {
      'Upload-Length': '1000',
      'Upload-Metadata': named['upload-metadata'],
      'Content-Type': OFFSET_TYPE,
      'Content-Length': '1000',
    })
    connection.send(noise(500))
    const count = () => harness.files('uploads').then((files) => files.length)
    await expect.poll(count, { timeout: 5_000 }).toBe(before.length + 1)
    connection.destroy()
    await expect.poll(() => harness.files('uploads'), { timeout: 5_000 }).toEqual(before)
  })
})

/** A service whose clock moves, with a lead and a client whose token outlives it. */
async function expiring() {
  const clock = movingClock()
  const fresh = await startService({ clock, env: { RECORDINGS_UPLOAD_EXPIRES_AFTER: '1h' } })
  const lasting = await tokenFor({ sub: 'telecaller-a', exp: Math.floor(clock.now() / 1000) + 10 * 3_600 })
  return { clock, fresh, at: await fresh.lead(), client: tusClient(lasting) }
}

describe('Expiration', () => {
  test('is told at creation and by every PATCH, sliding from the last byte, as an RFC 9110 date [EXT-EXPIRE-001] [EXT-EXPIRE-002] [EXT-EXPIRE-003] [OPT-EXP-001] [OPT-EXP-003]', async () => {
    const { clock, at, client } = await expiring()
    const inAnHour = (res: Response) =>
      Math.abs(Date.parse(res.headers.get('upload-expires') as string) - clock.now() - EXPIRES_AFTER_MS) < 5_000
    const created = await client.create(at.uploads, {
      'upload-length': '10',
      'upload-metadata': metadata({ filename: 'a.wav', call_log_id: at.callLogId }),
    })
    const url = created.headers.get('location') as string
    expect(created.headers.get('upload-expires')).toMatch(/^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/)
    expect(inAnHour(created)).toBe(true)
    clock.advance(EXPIRES_AFTER_MS * 0.9)
    expect(inAnHour(await client.patch(url, 0, noise(3)))).toBe(true)
    clock.advance(EXPIRES_AFTER_MS * 0.9)
    expect((await client.head(url)).headers.get('upload-offset')).toBe('3')
    const last = await client.patch(url, 3, noise(7))
    expect([last.status, last.headers.get('upload-expires')]).toEqual([204, null])
  })
  test('an upload silent for too long is 410, and its bytes go [EXT-EXPIRE-004] [EXT-EXPIRE-005] [SCN-ERROR-003]', async () => {
    const { clock, fresh, at, client } = await expiring()
    const url = await client.begin(at, 10)
    const done = await client.begin(at, 4)
    await client.patch(url, 0, noise(3))
    await client.patch(done, 0, noise(4))
    clock.advance(EXPIRES_AFTER_MS + 60_000)
    const head = await client.head(url)
    expect([head.status, head.headers.get('upload-offset')]).toEqual([410, null])
    expect((await client.patch(url, 3, noise(7))).status).toBe(410)
    await fresh.service.sweep.run()
    expect(await fresh.files('uploads')).toEqual([])
    expect((await client.head(url)).status).toBe(410)
    expect((await client.patch(await client.begin(at, 3), 0, noise(3))).headers.get('recording-id')).not.toBeNull()
    expect((await client.head(done)).headers.get('upload-offset')).toBe('4')
  })
  test('a part that is complete expires as well', async () => {
    const { clock, fresh, at, client } = await expiring()
    const made = await client.create(at.uploads, { 'upload-length': '5', 'upload-concat': 'partial' }, noise(5))
    const url = made.headers.get('location') as string
    expect(made.headers.get('upload-expires')).not.toBeNull()
    clock.advance(EXPIRES_AFTER_MS + 60_000)
    expect((await client.head(url)).status).toBe(410)
    await fresh.service.sweep.run()
    expect(await fresh.files('uploads')).toEqual([])
  })
})

describe('Checksum', () => {
  const patch = (url: string, offset: number, body: Uint8Array, checksum: string) =>
    tus.patch(url, offset, body, { 'upload-checksum': checksum })

  test.for(['sha1', 'sha256', 'sha512', 'md5'])(
    'by %s: one that holds is taken [EXT-CSUM-001] [EXT-CSUM-002] [EXT-CSUM-003] [EXT-CSUM-007]',
    async (algorithm) => {
      const bytes = noise(1_000)
      const url = await begin(1_000)
      const first = await patch(
        url,
        0,
        bytes.subarray(0, 400),
        `${algorithm} ${digest(algorithm, bytes.subarray(0, 400))}`,
      )
      expect([first.status, first.headers.get('upload-offset')]).toEqual([204, '400'])
      const last = await patch(url, 400, bytes.subarray(400), `${algorithm} ${digest(algorithm, bytes.subarray(400))}`)
      expect(await kept(last)).toEqual(bytes)
    },
  )
  test.for([0, 400])(
    'one that does not hold leaves the upload as it was, at %i: 460 [EXT-CSUM-004] [EXT-CSUM-005] [EXT-CSUM-008] [SCN-ERROR-002]',
    async (offset) => {
      const bytes = noise(1_000)
      const url = await begin(1_000)
      if (offset > 0) await tus.patch(url, 0, bytes.subarray(0, offset))
      const rest = bytes.subarray(offset)
      for (const checksum of [
        `sha1 ${digest('sha1', noise(9))}`,
        'sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAAA',
        `sha512 ${digest('sha1', rest)}`,
      ]) {
        const res = await patch(url, offset, rest, checksum)
        expect(res.status).toBe(460)
        expect(await res.text()).toMatch(/^checksum_mismatch: /)
        expect(await offsetOf(url)).toBe(offset)
      }
      const last = await patch(url, offset, rest, `sha1 ${digest('sha1', rest)}`)
      expect(last.headers.get('repr-digest')).toBe(`sha-256=:${digest('sha256', bytes)}:`)
      expect(await kept(last)).toEqual(bytes)
    },
  )
  test('an algorithm that is not told is 400, and nothing is written [EXT-CSUM-006]', async () => {
    const url = await begin(10)
    for (const checksum of [
      'crc32 AAAAAA==',
      'SHA1 AAAA',
      'constructor AAAA',
      'sha1',
      'sha1 ',
      'sha1 ###',
      'sha1  AAAA',
      'AAAA',
    ]) {
      expect((await patch(url, 0, noise(10), checksum)).status).toBe(400)
    }
    expect(await offsetOf(url)).toBe(0)
  })
  test('two sums are not one: 400 [OPT-CSUM-002]', async () => {
    const sum = `sha1 ${digest('sha1', noise(1))}`
    expect((await patch(await begin(10), 0, noise(1), `${sum}, ${sum}`)).status).toBe(400)
  })
  test('of nothing is checked too [OPT-CSUM-001]', async () => {
    const url = await begin(10)
    expect((await patch(url, 0, noise(0), `sha1 ${digest('sha1', noise(0))}`)).status).toBe(204)
    expect((await patch(url, 0, noise(0), `sha1 ${digest('sha1', noise(1))}`)).status).toBe(460)
  })
  test('with a creation, one that does not hold leaves nothing [OPT-CSUM-003]', async () => {
    const before = await harness.files('uploads')
    const bytes = noise(10)
    const wrong = await create({ 'upload-length': '10', 'upload-checksum': `md5 ${digest('md5', noise(1))}` }, bytes)
    expect([wrong.status, wrong.headers.get('location')]).toEqual([460, null])
    expect(await harness.files('uploads')).toEqual(before)
    const unknown = await create({ 'upload-length': '10', 'upload-checksum': 'crc32 AAAA' }, bytes)
    expect(unknown.status).toBe(400)
    const right = await create({ 'upload-length': '10', 'upload-checksum': `md5 ${digest('md5', bytes)}` }, bytes)
    expect(await kept(right)).toEqual(bytes)
  })
  test('of a body whose line dies can not be told: nothing of it counts', async () => {
    const bytes = noise(2_000)
    const url = await begin(2_000)
    await tus.patch(url, 0, bytes.subarray(0, 500))
    const connection = await connect()
    connection.head('PATCH', url, {
      'Upload-Offset': '500',
      'Content-Type': OFFSET_TYPE,
      'Content-Length': '1500',
      'Upload-Checksum': `sha1 ${digest('sha1', bytes.subarray(500))}`,
    })
    connection.send(bytes.subarray(500, 1_500))
    await expect.poll(() => stagedBytes(harness, url), { timeout: 5_000 }).toBe(1_500)
    connection.destroy()
    expect(await offsetOf(url)).toBe(500)
    expect(await kept(await tus.patch(url, 500, bytes.subarray(500)))).toEqual(bytes)
  })
  test('in a trailer that is announced [EXT-CSUM-TR-001] [EXT-CSUM-TR-002]', async () => {
    const bytes = noise(1_000)
    const url = await begin(1_000)
    const connection = await connect()
    const chunked = { 'Content-Type': OFFSET_TYPE, 'Transfer-Encoding': 'chunked', Trailer: 'Upload-Checksum' }
    const patched = async (offset: number, trailers: Record<string, string>) => {
      connection.head('PATCH', url, { ...chunked, 'Upload-Offset': String(offset) })
      connection.chunk(bytes.subarray(offset, offset + 250))
      connection.chunk(bytes.subarray(offset + 250, offset + 500))
      connection.lastChunk(trailers)
      return (await connection.answer()).status
    }
    const right = (offset: number, algorithm: string) => ({
      'Upload-Checksum': `${algorithm} ${digest(algorithm, bytes.subarray(offset, offset + 500))}`,
    })
    expect(await patched(0, right(500, 'sha1'))).toBe(460)
    expect(await patched(0, { 'Upload-Checksum': 'crc32 AAAA' })).toBe(400)
    expect(await patched(0, {})).toBe(400)
    expect(await offsetOf(url)).toBe(0)
    expect(await patched(0, right(0, 'md5'))).toBe(204)
    expect(await offsetOf(url)).toBe(500)
    expect(await patched(500, right(0, 'sha256'))).toBe(460)
    expect(await patched(500, right(500, 'sha512'))).toBe(204)
    connection.destroy()
    expect(await kept(await tus.head(url))).toEqual(bytes)
  })
})

describe('Termination § DELETE', () => {
  test('answers 204, frees what was used, and the upload is gone [EXT-TERM-001] [EXT-TERM-003]', async () => {
    const before = await harness.files('uploads')
    const url = await begin(10)
    await tus.patch(url, 0, noise(3))
    expect(await harness.files('uploads')).not.toEqual(before)
    expect((await tus.terminate(url)).status).toBe(204)
    expect(await harness.files('uploads')).toEqual(before)
    expect((await tus.head(url)).status).toBe(410)
    expect((await tus.patch(url, 3, noise(7))).status).toBe(410)
    expect((await tus.terminate(url)).status).toBe(410)
  })
  test('of an unknown upload is 404 [EXT-TERM-004]', async () => {
    expect((await tus.terminate(`${lead.uploads}/unknown`)).status).toBe(404)
  })
  test('of a finished upload succeeds, and never touches its recording [EXT-TERM-005]', async () => {
    const bytes = noise(10)
    const url = await begin(10)
    const last = await tus.patch(url, 0, bytes)
    expect((await tus.terminate(url)).status).toBe(204)
    expect((await tus.head(url)).status).toBe(410)
    expect(await kept(last)).toEqual(bytes)
  })
})

describe('Concatenation', () => {
  const partial = async (bytes: Uint8Array, headers: Record<string, string> = {}) => {
    const res = await tus.create(lead.uploads, {
      'upload-length': String(bytes.length),
      'upload-concat': 'partial',
      ...headers,
    })
    expect(res.status).toBe(201)
    const url = res.headers.get('location') as string
    if (bytes.length > 0) expect((await tus.patch(url, 0, bytes)).status).toBe(204)
    return url
  }
  const final = (urls: string[], headers: Record<string, string> = {}) =>
    create({ 'upload-concat': `final;${urls.join(' ')}`, ...headers })

  test('a partial upload needs no call, tells what it is, and becomes no recording [EXT-CONCAT-001] [EXT-CONCAT-009] [SCN-CONCAT-002]', async () => {
    const url = await partial(noise(10))
    const head = await tus.head(url)
    expect(head.headers.get('upload-concat')).toBe('partial')
    expect(head.headers.get('upload-offset')).toBe('10')
    expect(head.headers.get('upload-length')).toBe('10')
    expect(head.headers.get('upload-expires')).not.toBeNull()
    expect(head.headers.get('recording-id')).toBeNull()
    await harness.service.sweep.run()
    expect((await tus.head(url)).headers.get('recording-id')).toBeNull()
  })
  test('the final one is their bytes in the order given, and the recording [EXT-CONCAT-002] [EXT-CONCAT-004] [EXT-CONCAT-006] [EXT-CONCAT-010] [SCN-CONCAT-001]', async () => {
    const before = await harness.files('uploads')
    const pieces = [noise(1_000), noise(3), noise(0), noise(5_000)]
    const urls = await Promise.all(pieces.map((bytes) => partial(bytes)))
    const order = [3, 0, 2, 1]
    const bytes = Buffer.concat(order.map((i) => pieces[i] as Buffer))
    const listed = order.map((i) => urls[i] as string)
    const res = await final(listed)
    expect(res.status).toBe(201)
    expect(res.headers.get('repr-digest')).toBe(`sha-256=:${digest('sha256', bytes)}:`)
    expect(await kept(res)).toEqual(bytes)

    const url = res.headers.get('location') as string
    const head = await tus.head(url)
    expect(head.headers.get('upload-offset')).toBe(String(bytes.length))
    expect(head.headers.get('upload-length')).toBe(String(bytes.length))
    expect(head.headers.get('upload-concat')).toBe(`final;${listed.join(' ')}`)
    expect(head.headers.get('upload-metadata')).toBe(named['upload-metadata'])
    expect(head.headers.get('recording-id')).toBe(res.headers.get('recording-id'))
    for (const part of urls) expect((await tus.head(part)).status).toBe(410)
    expect(await harness.files('uploads')).toEqual(before)
  })
  test('addresses may have a slash at their end', async () => {
    const urls = [await partial(noise(5)), await partial(noise(5))]
    const res = await final(urls.map((url) => `${url}/`))
    expect(res.status).toBe(201)
    expect(res.headers.get('recording-id')).not.toBeNull()
    expect((await final(urls.map((url) => `${url}/`))).headers.get('location')).toBe(res.headers.get('location'))
    expect((await final([`${urls[0]}//`])).status).toBe(404)
  })
  test('addresses may be relative', async () => {
    const [a, b] = [noise(5), noise(5)]
    const paths = [new URL(await partial(a)).pathname, new URL(await partial(b)).pathname]
    expect(await kept(await final(paths))).toEqual(Buffer.concat([a, b]))
  })
  test('one part is enough, and bytes may come with its creation or be of deferred length', async () => {
    const bytes = noise(10)
    const made = await tus.create(
      lead.uploads,
      { 'upload-defer-length': '1', 'upload-concat': 'partial' },
      bytes.subarray(0, 5),
    )
    const url = made.headers.get('location') as string
    expect((await final([url])).status).toBe(400)
    expect((await tus.patch(url, 5, bytes.subarray(5), { 'upload-length': '10' })).status).toBe(204)
    expect(await kept(await final([url]))).toEqual(bytes)
  })
  test('the metadata of the parts is not that of the whole', async () => {
    const url = await partial(noise(5), { 'upload-metadata': metadata({ note: 'first half' }) })
    expect((await tus.head(url)).headers.get('upload-metadata')).toBe(metadata({ note: 'first half' }))
    const res = await tus.create(lead.uploads, { 'upload-concat': `final;${url}` })
    expect(res.status).toBe(400)
    expect((await final([url])).status).toBe(201)
  })
  test('a final upload takes no PATCH: 403 [EXT-CONCAT-005]', async () => {
    const res = await final([await partial(noise(5))])
    const patched = await tus.patch(res.headers.get('location') as string, 5, noise(1))
    expect(patched.status).toBe(403)
    expect(await patched.text()).toMatch(/^upload_is_final: /)
  })
  test('nor a length, nor a body [EXT-CONCAT-003]', async () => {
    const url = await partial(noise(5))
    expect((await final([url], { 'upload-length': '5' })).status).toBe(400)
    expect((await final([url], { 'upload-defer-length': '1' })).status).toBe(400)
    expect((await create({ 'upload-concat': `final;${url}` }, noise(5))).status).toBe(400)
    expect((await final([url])).status).toBe(201)
  })
  test('parts must be complete [EXT-CONCAT-007] [EXT-CONCAT-UF-001] [EXT-CONCAT-UF-002]', async () => {
    const whole = await partial(noise(5))
    const made = await tus.create(lead.uploads, { 'upload-length': '10', 'upload-concat': 'partial' })
    const open = made.headers.get('location') as string
    const res = await final([whole, open])
    expect(res.status).toBe(400)
    expect(await res.text()).toMatch(/^incomplete_upload: /)
    expect((await tus.head(whole)).headers.get('upload-offset')).toBe('5')
    await tus.patch(open, 0, noise(10))
    expect((await final([whole, open])).status).toBe(201)
  })
  test('parts must exist, be partial, of this lead and this caller, and named once [EXT-CONCAT-008]', async () => {
    const part = await partial(noise(5))
    const other = await harness.lead()
    const elsewhere = await tus.create(other.uploads, { 'upload-length': '5', 'upload-concat': 'partial' })
    const byCrm = await tusClient(harness.tokens.crm).create(lead.uploads, {
      'upload-length': '5',
      'upload-concat': 'partial',
    })
    const cases: [string, number][] = [
      [`${lead.uploads}/unknown`, 404],
      ['https://elsewhere.example/files/1', 404],
      ['::', 404],
      [elsewhere.headers.get('location') as string, 404],
      [byCrm.headers.get('location') as string, 403],
      [await begin(5), 400],
      [part, 400],
    ]
    for (const [address, status] of cases)
      expect([address, (await final([part, address])).status]).toEqual([address, status])
    for (const header of ['final;', 'final', 'final; ', 'half', '']) {
      expect((await create({ 'upload-concat': header })).status).toBe(400)
    }
    expect((await final([part])).status).toBe(201)
  })
  test('asked for again after a lost answer, or twice at once, it is the same upload', async () => {
    const pieces = [noise(50_000), noise(60_000)]
    const urls = await Promise.all(pieces.map((bytes) => partial(bytes)))
    const answers = await Promise.all([final(urls), final(urls), final(urls)])
    answers.push(await final(urls))
    expect(answers.map((res) => res.status)).toEqual([201, 201, 201, 201])
    expect(new Set(answers.map((res) => res.headers.get('recording-id'))).size).toBe(1)
    expect(new Set(answers.map((res) => res.headers.get('location'))).size).toBe(1)
    expect((await final(urls.slice(0, 1))).status).toBe(410)
    expect((await final(urls.toReversed())).status).toBe(410)
  })
  test('a part that is being written is taken over, and not complete', async () => {
    const made = await tus.create(lead.uploads, { 'upload-length': '1000', 'upload-concat': 'partial' })
    const url = made.headers.get('location') as string
    const connection = await connect()
    connection.head('PATCH', url, { 'Upload-Offset': '0', 'Content-Type': OFFSET_TYPE, 'Content-Length': '1000' })
    connection.send(noise(400))
    await expect.poll(() => stagedBytes(harness, url), { timeout: 5_000 }).toBe(400)
    expect((await final([await partial(noise(5)), url])).status).toBe(400)
    expect((await connection.answer()).status).toBe(423)
    connection.destroy()
    expect(await offsetOf(url)).toBe(400)
  })
  test('of two wholes of the same parts in different orders, at once, one is made', async () => {
    for (let round = 0; round < 5; round++) {
      const urls = [await partial(noise(50)), await partial(noise(50)), await partial(noise(50))]
      const answers = await Promise.all([final(urls), final(urls.toReversed())])
      expect(answers.map((res) => res.status).sort()).toEqual([201, 410])
    }
  })
  test('an empty whole is refused, one over the limit as well; the parts stay', async () => {
    expect((await final([await partial(noise(0))])).status).toBe(400)
    const small = await startService({ env: { RECORDINGS_MAX_UPLOAD_SIZE: '1000' } })
    const at = await small.lead()
    const client = tusClient(small.tokens.telecaller)
    const urls: string[] = []
    for (let i = 0; i < 2; i++) {
      const made = await client.create(at.uploads, { 'upload-length': '600', 'upload-concat': 'partial' }, noise(600))
      urls.push(made.headers.get('location') as string)
    }
    const whole = { 'upload-metadata': metadata({ filename: 'a.wav', call_log_id: at.callLogId }) }
    const res = await client.create(at.uploads, { ...whole, 'upload-concat': `final;${urls.join(' ')}` })
    expect(res.status).toBe(413)
    expect((await client.head(urls[0] as string)).headers.get('upload-offset')).toBe('600')
  })
  test('a part can be ended like any upload', async () => {
    const gone = await partial(noise(5))
    expect((await tus.terminate(gone)).status).toBe(204)
    expect((await final([gone])).status).toBe(410)
  })
})

describe('Digests (RFC 9530)', () => {
  const bytes = noise(1_000)
  const promise = (sha: string) => ({ 'upload-metadata': metadata({ ...call, sha256: sha }) })

  test.for([
    ['sha256 in hex', promise(sha256(bytes))],
    ['sha256 in capitals', promise(sha256(bytes).toUpperCase())],
    ['sha256 in Base64', promise(digest('sha256', bytes))],
    ['sha256 in Base64 without padding', promise(digest('sha256', bytes).replace('=', ''))],
    ['Repr-Digest', { 'repr-digest': `sha-256=:${digest('sha256', bytes)}:` }],
    [
      'Repr-Digest among others',
      { 'repr-digest': `sha-512=:${digest('sha512', noise(1))}:, sha-256=:${digest('sha256', bytes)}:;q=1` },
    ],
    ['both', { ...promise(sha256(bytes)), 'repr-digest': `sha-256=:${digest('sha256', bytes)}:` }],
    ['Repr-Digest of another algorithm alone', { 'repr-digest': `sha-512=:${digest('sha512', noise(1))}:` }],
  ] as const)('a promise that is kept: %s', async ([, headers]) => {
    const url = await begin(bytes.length, headers)
    await tus.patch(url, 0, bytes.subarray(0, 300))
    const last = await tus.patch(url, 300, bytes.subarray(300))
    expect(last.status).toBe(204)
    expect(last.headers.get('repr-digest')).toBe(`sha-256=:${digest('sha256', bytes)}:`)
  })
  test.for([
    ['sha256 in hex', promise(sha256(noise(5)))],
    ['Repr-Digest', { 'repr-digest': `sha-256=:${digest('sha256', noise(5))}:` }],
  ] as const)('a promise that is not: 460, the bytes are gone, and the client starts anew: %s', async ([, headers]) => {
    const before = [await harness.files('uploads'), await harness.files('recordings')]
    const url = await begin(bytes.length, headers)
    const last = await tus.patch(url, 0, bytes)
    expect(last.status).toBe(460)
    expect(await last.text()).toMatch(/^checksum_mismatch: /)
    expect([await harness.files('uploads'), await harness.files('recordings')]).toEqual(before)
    expect((await tus.head(url)).status).toBe(410)
    expect((await tus.patch(url, bytes.length, noise(0))).status).toBe(410)
    expect((await create({ 'upload-length': '1000', ...headers }, bytes)).status).toBe(460)
  })
  test('playback says it too, of the whole for a range as well', async () => {
    const res = await create({ 'upload-length': '1000' }, bytes)
    const at = `${lead.recordings}/${res.headers.get('recording-id')}`
    for (const range of ['bytes=0-99', 'bytes=0-']) {
      const played = await harness.api('GET', at, { headers: { range } })
      expect([played.status, played.headers.get('repr-digest')]).toEqual([206, `sha-256=:${digest('sha256', bytes)}:`])
    }
    expect((await harness.api('HEAD', at)).headers.get('repr-digest')).toBe(`sha-256=:${digest('sha256', bytes)}:`)
  })
  test('a promise that can not be read is 400', async () => {
    for (const sha of ['abc', `${sha256(bytes)}00`, 'sha256']) {
      expect((await create({ 'upload-length': '10', ...promise(sha) })).status).toBe(400)
    }
    for (const header of ['sha-256', 'sha-256=abc', 'sha-256=:AAAA:', '', 'sha-256=:AAAA', ':AAAA:']) {
      expect((await create({ 'upload-length': '10', 'repr-digest': header })).status).toBe(400)
    }
    const differing = { ...promise(sha256(noise(1))), 'repr-digest': `sha-256=:${digest('sha256', bytes)}:` }
    expect((await create({ 'upload-length': '10', ...differing })).status).toBe(400)
  })
  test('a promise for the whole of parts', async () => {
    const urls: string[] = []
    for (const piece of [bytes.subarray(0, 400), bytes.subarray(400)]) {
      const made = await tus.create(
        lead.uploads,
        { 'upload-length': String(piece.length), 'upload-concat': 'partial' },
        piece,
      )
      urls.push(made.headers.get('location') as string)
    }
    const wrong = await create({ 'upload-concat': `final;${urls.join(' ')}`, ...promise(sha256(noise(1))) })
    expect(wrong.status).toBe(460)
    for (const url of urls) expect((await tus.head(url)).status).toBe(410)
  })
})

test('no requirement of the public list is forgotten', () => {
  const here = readFileSync(import.meta.filename, 'utf8')
  const families: Record<string, number> = {
    'CP-OPT': 5,
    'CP-HEAD': 7,
    'CP-PATCH': 10,
    'CP-VER': 3,
    'CP-ERR': 2,
    'EXT-CREATE': 10,
    'EXT-DEFER': 5,
    'EXT-CWU': 5,
    'EXT-CSUM': 8,
    'EXT-CSUM-TR': 2,
    'EXT-TERM': 5,
    'EXT-CONCAT': 10,
    'EXT-CONCAT-UF': 2,
    'EXT-EXPIRE': 5,
    'SCN-BASIC': 4,
    'SCN-RESUME': 4,
    'SCN-ERROR': 3,
    'SCN-CONCAT': 2,
    'OPT-META': 6,
    'OPT-URL': 3,
    'OPT-PARTIAL': 3,
    'OPT-CONC': 3,
    'OPT-COMP': 3,
    'OPT-CSUM': 3,
    'OPT-EXP': 3,
  }
  const ids = Object.entries(families).flatMap(([family, count]) =>
    Array.from({ length: count }, (_, i) => `[${family}-${String(i + 1).padStart(3, '0')}]`),
  )
  // Idle and slow clients, and a full disk, have tests of their own.
  expect(ids.filter((id) => !here.includes(id))).toEqual([])
})
