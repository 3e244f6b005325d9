/**
 * No request of one caller keeps others waiting for 100 ms, whatever its bytes are: the costliest that each door can be
 * sent, and what the longest turn of the server's event loop was meanwhile.
 */
import { describe, expect, test } from 'vitest'
import { BODY_BYTES, bytesTo, HEADER_CHARACTERS, LIMIT_MS, pumped } from '../support/costly.ts'
import { base64, legacyClient } from '../support/legacy.ts'
import { jsonOf } from '../support/service.ts'
import { startMeasured } from '../support/stretches.ts'
import { noise } from '../support/tus.ts'

const server = await startMeasured({ env: { RECORDINGS_MAX_UPLOADS_PER_CALLER: '1000' } })
const legacy = legacyClient(server)
const lead = await server.lead()
const uploadId = await legacy.begin(lead)
const token = server.tokens.telecaller
const { head, answersTo } = bytesTo(server)
const doors = { legacy: new URL(lead.recordings).pathname, tus: new URL(lead.uploads).pathname }

async function post(body: string, contentType: string): Promise<number> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': contentType }
  return (await fetch(lead.recordings, { method: 'POST', headers, body })).status
}

const append = `"action":"append","upload_id":"${uploadId}","chunk_index":0`

describe('a chunk of 14 MB', () => {
  const json = 'application/json'
  const form = 'application/x-www-form-urlencoded'
  const field = (name: string, text: string) =>
    `--b\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${text}\r\n`
  const multipart = (text: string) =>
    `${field('action', 'append')}${field('upload_id', uploadId)}${field('chunk_index', '0')}${field('chunk', text)}--b--\r\n`

  test.for([
    ...['\\n', '\\"', '\\\\', '\\/', '\\u0041', 'A\\n'].map(
      (piece) => [piece, json, `{${append},"chunk":"${pumped(piece, BODY_BYTES)}"}`] as const,
    ),
    ['quotes beside it', json, `{${append},${pumped('"",', BODY_BYTES)}}`],
    ['a text of quotes beside it', json, `{${append},"note":"${pumped('\\"', BODY_BYTES)}"}`],
    ['brackets beside it', json, `{${append},"note":${pumped('[', BODY_BYTES)}}`],
    ...['%0A', '%41', '%', '+', 'A%0A', '&', '&chunk='].map(
      (piece) =>
        [piece, form, `action=append&upload_id=${uploadId}&chunk_index=0&chunk=${pumped(piece, BODY_BYTES)}`] as const,
    ),
    ['&', form, pumped('&', BODY_BYTES)],
    ...['\r\n', '\r', '\r\n-', 'A\n'].map(
      (piece) => [piece, 'multipart/form-data; boundary=b', multipart(pumped(piece, BODY_BYTES))] as const,
    ),
    ['\r\n ahead of all parts', 'multipart/form-data; boundary=b', pumped('\r\n', BODY_BYTES)],
    [
      'nearly its boundary',
      `multipart/form-data; boundary=${'-'.repeat(69)}`,
      pumped(`\r\n${'-'.repeat(70)}`, BODY_BYTES),
    ],
  ] as const)('of %j as %s', async ([, contentType, body]) => {
    const longestMs = await server.longestTurn(async () => {
      const statuses = await Promise.all([post(body, contentType), post(body, contentType)])
      for (const status of statuses) expect([202, 400, 413]).toContain(status)
    })
    expect(longestMs).toBeLessThan(LIMIT_MS)
  })
})

describe('64 KiB', () => {
  test.for([
    ['brackets', pumped('[', 60_000)],
    ['brackets in a member', `{"telecaller_id":${pumped('[', 30_000)}${pumped(']', 30_000)}}`],
    ['members', `{${Array.from({ length: 6_000 }, (_, i) => `"${i}":0`).join(',')}}`],
    ['members named __proto__', `{${pumped('"__proto__":{},', 60_000)}"telecaller_id":"a"}`],
    ['a name', JSON.stringify({ telecaller_id: pumped('a', 60_000) })],
    ['a number', `{"telecaller_id":${pumped('9', 60_000)}}`],
    ['escapes', `{"telecaller_id":"${pumped('\\u0041', 60_000)}"}`],
  ] as const)('of JSON, %s, ten times at once', async ([, body]) => {
    const longestMs = await server.longestTurn(async () => {
      for (const [where, as] of [
        ['/api/leads/lead-x', server.tokens.crm],
        [`/api/leads/${lead.leadId}/call-logs/call-x`, server.tokens.crm],
      ] as const) {
        await Promise.all(Array.from({ length: 10 }, () => server.api('PUT', where, { token: as, body })))
      }
      await Promise.all(Array.from({ length: 10 }, () => server.api('POST', lead.recordings, { body })))
    })
    expect(longestMs).toBeLessThan(LIMIT_MS)
  })
})

describe('a body in chunks of one byte', () => {
  const inOnes = (text: string) => `${Array.from(text, (byte) => `1\r\n${byte}\r\n`).join('')}0\r\n\r\n`
  const partHead = (more: string) => `--b\r\nContent-Disposition: form-data; ${more}\r\n`
  const FORM = { 'Content-Type': 'multipart/form-data; boundary=b' }

  test.for([
    ['JSON', doors.legacy, { 'Content-Type': 'application/json' }, `{${append},"chunk":"${pumped('A', 200_000)}"}`],
    [
      'part heads',
      doors.legacy,
      FORM,
      `${pumped(`${partHead('name="a"')}X: ${pumped('x', 15_000)}\r\n\r\n\r\n`, 99_999)}`,
    ],
    ['blanks behind a delimiter', doors.legacy, FORM, `--b${pumped(' ', 16_000)}`],
    ['a field', doors.legacy, FORM, `${partHead('name="a"')}\r\n${pumped('x', 60_000)}\r\n--b--\r\n`],
    [
      'a file',
      doors.legacy,
      FORM,
      `${partHead('name="file"; filename="a.wav"')}\r\n${pumped('\r\n-', 200_000)}\r\n--b--\r\n`,
    ],
    ['a body that is refused', doors.legacy, { 'Content-Type': 'text/plain' }, pumped('x', 200_000)],
  ] as const)('of %s', async ([, target, headers, text]) => {
    const bytes = [head('POST', target, { ...headers, 'Transfer-Encoding': 'chunked' }), Buffer.from(inOnes(text))]
    const longestMs = await server.longestTurn(async () => {
      expect(await answersTo(Buffer.concat(bytes))).toHaveLength(1)
    })
    expect(longestMs).toBeLessThan(LIMIT_MS)
  })

  test('of a tus upload is stored as it came', async () => {
    const text = pumped('0123456789', 200_000)
    const longestMs = await server.longestTurn(async () => {
      const created = await fetch(lead.uploads, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${token}`,
          'tus-resumable': '1.0.0',
          'upload-length': String(text.length),
          'upload-metadata': `filename ${base64('a.wav')},call_log_id ${base64(lead.callLogId)}`,
        },
      })
      const { pathname } = new URL(created.headers.get('location') as string)
      const patch = head('PATCH', pathname, {
        'Tus-Resumable': '1.0.0',
        'Upload-Offset': '0',
        'Content-Type': 'application/offset+octet-stream',
        'Transfer-Encoding': 'chunked',
      })
      expect(await answersTo(Buffer.concat([patch, Buffer.from(inOnes(text))]))).toEqual([204])
    })
    expect(longestMs).toBeLessThan(LIMIT_MS)
    const [newest] = (await jsonOf(await server.api('GET', lead.recordings))).recordings as { id: string }[]
    expect(await (await server.api('GET', `${lead.recordings}/${newest?.id}`)).text()).toBe(text)
  })
})

describe('heads of 15 KB, sent ahead on one connection', { timeout: 60_000 }, async () => {
  /** What makes an expression try again and again: blanks, separators, quotes, escapes, digits, beginnings of members. */
  const PIECES = [
    ...[
      '\t',
      ' ',
      ',',
      ';',
      '"',
      '\\',
      '=',
      '0',
      'a',
      '%',
      '/',
      '.',
      '-',
      '[',
      '(',
      ':',
      '\xe9',
      '"",',
      'W/"",',
      ';a="',
    ],
    ...[
      ';a=',
      '0-1,',
      '-1,',
      ', \t',
      'eyJ.',
      '&a=',
      '%41',
      'sha-256=:A:,',
      'AAAA,a ',
      '/a ',
      '1.1.1.1,',
      '\\"',
      'a \t=',
    ],
  ]
  const form = new FormData()
  form.append('file', new Blob([noise(3_000)]), 'call.wav')
  form.append('call_log_id', lead.callLogId)
  const stored = await fetch(lead.recordings, {
    method: 'POST',
    body: form,
    headers: { authorization: `Bearer ${token}` },
  })
  const playback = `${doors.legacy}/${(await jsonOf(stored)).id}`
  const NO_BODY = { 'Content-Length': '0' }
  const TUS = { ...NO_BODY, 'Tus-Resumable': '1.0.0', 'Upload-Length': '5' }

  const targets: [method: string, target: string, beside: Record<string, string>, name: string, starts: string[]][] = [
    ['GET', playback, {}, 'Range', ['bytes=', 'bytes=0<', 'bytes=0-1']],
    ...[
      'If-None-Match',
      'If-Match',
      'If-Range',
      'If-Modified-Since',
      'Origin',
      'Cookie',
      'Forwarded',
      'X-Forwarded-Host',
    ].map((name): (typeof targets)[number] => ['GET', playback, {}, name, ['', '"']]),
    ['GET', playback, {}, 'Authorization', ['', 'Bearer ', 'Bearer a', 'Bearer eyJ']],
    ['GET', `${playback}/details`, {}, 'If-None-Match', ['', '"']],
    ['GET', `${playback}/details`, {}, 'Cache-Control', ['', 'no-cache,']],
    [
      'POST',
      doors.legacy,
      NO_BODY,
      'Content-Type',
      ['', 'multipart/form-data;', 'multipart/form-data; boundary="', 'application/json;'],
    ],
    ['POST', doors.legacy, NO_BODY, 'Idempotency-Key', ['', '"']],
    ['PUT', '/api/leads/lead-x', { 'Content-Length': '1' }, 'Content-Type', ['', 'application/json;', 'a/b; a="']],
    ['POST', doors.tus, TUS, 'Upload-Metadata', ['', 'filename ', 'a ,']],
    [
      'POST',
      doors.tus,
      { ...NO_BODY, 'Tus-Resumable': '1.0.0' },
      'Upload-Concat',
      ['', 'final;', `final;${doors.tus}`],
    ],
    ...[
      'Upload-Checksum',
      'Upload-Defer-Length',
      'Repr-Digest',
      'Idempotency-Key',
      'X-HTTP-Method-Override',
      'Trailer',
    ].map((name): (typeof targets)[number] => ['POST', doors.tus, TUS, name, ['', 'sha1 ', '"']]),
  ]

  test.for(targets.map((each) => [each[3], each[0], each] as const))('with a long %s, %s', async ([, , each]) => {
    const [method, target, beside, name, starts] = each
    const longestMs = await server.longestTurn(async () => {
      for (const start of starts) {
        for (const piece of PIECES) {
          const value = `${start}${pumped(piece, HEADER_CHARACTERS - start.length)}x`
          const one = head(method, target, { ...beside, [name]: value })
          const request = beside['Content-Length'] === '1' ? Buffer.concat([one, Buffer.from('{')]) : one
          // Five are more than one read of the socket brings.
          await answersTo(Buffer.concat(Array.from({ length: 5 }, () => request)), 5)
        }
      }
    })
    expect(longestMs).toBeLessThan(LIMIT_MS)
  })

  test('in the parts of a form', async () => {
    const headers = { 'Content-Type': 'multipart/form-data; boundary=b' }
    const longestMs = await server.longestTurn(async () => {
      for (const start of [
        '',
        'name="',
        'name=a; filename="',
        "name=a; filename*=utf-8''",
        'name=a; filename="=?utf-8?Q?',
      ]) {
        for (const piece of PIECES) {
          const disposition = `${start}${pumped(piece, HEADER_CHARACTERS)}x`
          const body = Buffer.from(
            `--b\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n\r\n--b--\r\n`,
            'latin1',
          )
          const request = head('POST', doors.legacy, { ...headers, 'Content-Length': String(body.length) })
          await answersTo(Buffer.concat(Array.from({ length: 5 }, () => [request, body]).flat()), 5)
        }
      }
    })
    expect(longestMs).toBeLessThan(LIMIT_MS)
  })

  test('with Range: bytes=0, blanks and an x, twenty times', async () => {
    const one = head('GET', playback, { Range: `bytes=0${pumped('\t', HEADER_CHARACTERS)}x` })
    const longestMs = await server.longestTurn(async () => {
      expect(await answersTo(Buffer.concat(Array.from({ length: 20 }, () => one)), 20)).toEqual(Array(20).fill(416))
    })
    expect(longestMs).toBeLessThan(LIMIT_MS)
  })

  test('or short ones, as many as a read of the socket brings', async () => {
    const { host } = new URL(server.url)
    for (const target of ['/x', '/livez', playback]) {
      const bytes = Buffer.from(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`.repeat(900))
      const longestMs = await server.longestTurn(() => answersTo(bytes, 900))
      expect(longestMs).toBeLessThan(LIMIT_MS)
    }
  })

  test('with addresses of 15 KB, which the log masks', async () => {
    const longestMs = await server.longestTurn(async () => {
      for (const start of ['/', '/?', '/?token=', `${playback}?token=`, '/api/leads/', 'http://', 'http://a?', '*']) {
        for (const piece of PIECES.filter((each) => !/\s/.test(each))) {
          const one = head('GET', start + pumped(piece, HEADER_CHARACTERS), {})
          await answersTo(Buffer.concat(Array.from({ length: 5 }, () => one)), 5)
        }
      }
    })
    expect(longestMs).toBeLessThan(LIMIT_MS)
  })
})
