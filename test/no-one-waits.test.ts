/**
 * No request of one caller keeps others waiting for 100 ms: one costly case of each door, and of the heads. All of them
 * are in `test/faults/no-one-waits.test.ts`.
 */
import { describe, expect, test } from 'vitest'
import { BODY_BYTES, bytesTo, HEADER_CHARACTERS, LIMIT_MS, pumped } from './support/costly.ts'
import { legacyClient } from './support/legacy.ts'
import { startMeasured } from './support/stretches.ts'
import { tusClient } from './support/tus.ts'

const server = await startMeasured()
const { head, answersTo } = bytesTo(server)
const lead = await server.lead()
const uploadId = await legacyClient(server).begin(lead)
const token = server.tokens.telecaller
const pathOf = (url: string) => new URL(url).pathname

const ids = `"action":"append","upload_id":"${uploadId}","chunk_index":0`
const part = (more: string) => `--b\r\nContent-Disposition: form-data; ${more}\r\n\r\n`

describe('a caller keeps nobody waiting', () => {
  test.for([
    ['a JSON chunk of escapes', 'application/json', `{${ids},"chunk":"${pumped('\\n', BODY_BYTES)}"}`],
    ['an urlencoded body of separators', 'application/x-www-form-urlencoded', pumped('&', BODY_BYTES)],
    [
      'a form whose file is line ends',
      'multipart/form-data; boundary=b',
      `${part('name="file"; filename="a.wav"')}${pumped('\r\n', BODY_BYTES)}\r\n--b--\r\n`,
    ],
  ])('with %s, 14 MB', async ([, contentType, body]) => {
    const longestMs = await server.longestTurn(async () => {
      const headers = { authorization: `Bearer ${token}`, 'content-type': contentType }
      const { status } = await fetch(lead.recordings, { method: 'POST', headers, body })
      expect([400, 413]).toContain(status)
    })
    expect(longestMs).toBeLessThan(LIMIT_MS)
  })

  test('with a tus upload in chunks of one byte', async () => {
    const text = pumped('0123456789', 100_000)
    const inOnes = `${Array.from(text, (byte) => `1\r\n${byte}\r\n`).join('')}0\r\n\r\n`
    const longestMs = await server.longestTurn(async () => {
      const upload = await tusClient(token).begin(lead, text.length)
      const patch = head('PATCH', pathOf(upload), {
        'Tus-Resumable': '1.0.0',
        'Upload-Offset': '0',
        'Content-Type': 'application/offset+octet-stream',
        'Transfer-Encoding': 'chunked',
      })
      expect(await answersTo(Buffer.concat([patch, Buffer.from(inOnes)]))).toEqual([204])
    })
    expect(longestMs).toBeLessThan(LIMIT_MS)
  })

  test('with a Range of blanks, twenty times', async () => {
    const recordings = await (await server.api('GET', lead.recordings)).json()
    const [{ id }] = (recordings as { recordings: [{ id: string }] }).recordings
    const range = { Range: `bytes=0${pumped('\t', HEADER_CHARACTERS)}x` }
    const one = head('GET', `${pathOf(lead.recordings)}/${id}`, range)
    const longestMs = await server.longestTurn(async () => {
      expect(await answersTo(Buffer.concat(Array.from({ length: 20 }, () => one)), 20)).toEqual(Array(20).fill(416))
    })
    expect(longestMs).toBeLessThan(LIMIT_MS)
  })
})
