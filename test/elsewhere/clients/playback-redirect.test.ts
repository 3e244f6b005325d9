/** Listeners who are sent to the store: what they are told, who is not sent, and what the store says of the bytes. */
import { describe, expect, test } from 'vitest'
import { record } from '../../support/recordings.ts'
import { startService } from '../../support/service.ts'

const service = await startService({ env: { RECORDINGS_PLAYBACK_REDIRECT: '60s' } })
const recording = await record(service, '0123456789', { filename: 'Call with Anu – ünï.wav' })

async function link(): Promise<string> {
  const made = await service.api('POST', `${recording.url}/playback-links`, { body: {} })
  return ((await made.json()) as { url: string }).url
}

const asked = (url: string, init: RequestInit = {}) => fetch(url, { redirect: 'manual', ...init })

describe('where listeners are sent to the store', () => {
  test('one with a link reads from there, in ranges too, with type, name and length', async () => {
    const sent = await asked(await link())
    expect([sent.status, sent.headers.get('cache-control')]).toEqual([302, 'no-store'])
    const address = sent.headers.get('location') as string
    expect(new URL(address).searchParams.get('X-Amz-Expires')).toBe('60')
    const whole = await fetch(address)
    expect([whole.status, await whole.text()]).toEqual([200, '0123456789'])
    expect(whole.headers.get('content-type')).toBe('audio/wav')
    expect(whole.headers.get('content-disposition')).toMatch(
      /^inline; filename="Call with Anu .*filename\*=UTF-8''Call/,
    )
    const part = await fetch(address, { headers: { range: 'bytes=2-4' } })
    expect([part.status, await part.text(), part.headers.get('content-range')]).toEqual([206, '234', 'bytes 2-4/10'])
    const saved = await asked(`${await link()}&download=1`)
    const download = await fetch(saved.headers.get('location') as string)
    expect(download.headers.get('content-disposition')).toMatch(/^attachment; /)
  })

  test('one with a login is not, since the store would refuse the header; nor is HEAD', async () => {
    const { telecaller } = service.tokens
    const own = await asked(recording.url, { headers: { authorization: `Bearer ${telecaller}` } })
    expect([own.status, await own.text()]).toEqual([200, '0123456789'])
    const head = await asked(await link(), { method: 'HEAD' })
    expect([head.status, head.headers.get('content-length')]).toEqual([200, '10'])
  })

  test('one whose rights have ended is not', async () => {
    const before = await link()
    await service.api('PUT', `/api/leads/${recording.leadId}`, {
      token: service.tokens.crm,
      body: { telecaller_id: 'telecaller-b' },
    })
    expect((await asked(before)).status).toBe(403)
  })
})
