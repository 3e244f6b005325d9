/** A clock that is set back: what was stored before lies in the future, and is not trusted to be past. */
import { describe, expect, test } from 'vitest'
import { ask } from './support/http.ts'
import { record } from './support/recordings.ts'
import { jsonOf, movingClock, startService, tokenFor } from './support/service.ts'

const HOUR = 3_600_000
const clock = movingClock()
const service = await startService({ clock })
const authorization = `Bearer ${service.tokens.telecaller}`
const msOf = (date: string | undefined) => Date.parse(date ?? '')

describe('a recording that was stored an hour from now', () => {
  test('was modified no later than its answer: GET, HEAD, ranges, 304', async () => {
    clock.advance(HOUR)
    const { url } = await record(service, '0123456789')
    clock.advance(-HOUR)
    for (const [method, headers] of [
      ['GET', {}],
      ['HEAD', {}],
      ['GET', { range: 'bytes=0-1' }],
      ['GET', { 'if-none-match': '*' }],
    ] as const) {
      const { headers: told } = await ask(url, method, { authorization, ...headers })
      expect(msOf(told['last-modified'])).toBeLessThanOrEqual(msOf(told.date))
      expect(msOf(told['last-modified'])).toBeGreaterThan(clock.now() - 10_000)
    }
    clock.advance(HOUR)
    const { headers } = await ask(url, 'GET', { authorization })
    const again = await ask(url, 'GET', { authorization, 'if-modified-since': headers['last-modified'] as string })
    expect(again.status).toBe(304)
    clock.advance(-HOUR)
  })

  test('plays from where a listener was, by its tag', async () => {
    const { url } = await record(service, '0123456789')
    const { etag } = (await ask(url, 'HEAD', { authorization })).headers
    clock.advance(-HOUR)
    const res = await ask(url, 'GET', { authorization, range: 'bytes=5-', 'if-range': etag as string })
    expect([res.status, res.text]).toEqual([206, '56789'])
    clock.advance(HOUR)
  })

  test('and Date is that of the answer, also for what was stored a moment ago', async () => {
    for (let i = 0; i < 20; i++) {
      const { url } = await record(service, 'now')
      const { headers } = await ask(url, 'HEAD', { authorization })
      expect(msOf(headers['last-modified'])).toBeLessThanOrEqual(msOf(headers.date))
    }
  })
})

test('a token is remembered no longer than before: one that is not valid yet is refused again', async () => {
  const { url } = await record(service, 'nbf')
  const nbf = Math.floor(clock.now() / 1000) - 60
  const token = await tokenFor({ sub: 'telecaller-a', nbf, exp: nbf + 86_400 })
  const status = async () => (await ask(url, 'HEAD', { authorization: `Bearer ${token}` })).status
  expect(await status()).toBe(200)
  clock.advance(-HOUR)
  expect(await status()).toBe(401)
  clock.advance(HOUR)
  expect(await status()).toBe(200)
})

test('a link goes on playing, and ends when it said', async () => {
  const { url } = await record(service, 'link')
  const link = (await jsonOf(await service.api('POST', `${url}/playback-links`))).url as string
  clock.advance(-HOUR)
  expect((await ask(link)).text).toBe('link')
  clock.advance(HOUR + 601_000)
  expect((await ask(link)).status).toBe(401)
})

test('a list that is paged meanwhile shows each recording once, in the order of the times that it tells', async () => {
  const lead = await service.lead()
  const stored: string[] = []
  for (const shiftMs of [0, 1_000, -HOUR, 500, -500, HOUR]) {
    clock.advance(shiftMs)
    stored.push((await record(service, `${stored.length}`, { lead })).id)
  }
  const seen: { id: string; created_at: string }[] = []
  for (let cursor: unknown = ''; cursor !== null; ) {
    const page = await jsonOf(await service.api('GET', `${lead.recordings}?limit=1${cursor && `&cursor=${cursor}`}`))
    seen.push(...(page.recordings as typeof seen))
    cursor = page.next_cursor
    clock.advance(-1_000)
  }
  expect(seen.map(({ id }) => id).sort()).toEqual(stored.sort())
  expect(seen.map(({ created_at }) => created_at)).toEqual(
    seen
      .map(({ created_at }) => created_at)
      .sort()
      .reverse(),
  )
})
