import { createHmac } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import { describe, expect, test } from 'vitest'
import { type Answer, ask } from './support/http.ts'
import { startProcess } from './support/process.ts'
import { record, type TestRecording } from './support/recordings.ts'
import { movingClock, startService, tokenFor } from './support/service.ts'

const clock = movingClock()
const service = await startService({ clock, env: { RECORDINGS_CORS_ORIGINS: 'https://crm.example' } })
const { telecaller, other, supervisor, crm } = service.tokens
const recording = await record(service, '0123456789')

interface Made {
  status: number
  url: string
  expires_at: string
  code?: string
}

async function makeLink(
  of: TestRecording,
  { token = telecaller, body }: { token?: string | null; body?: unknown } = {},
) {
  const res = await service.api('POST', `${of.url}/playback-links`, { token, body })
  return { status: res.status, ...((await res.json()) as object) } as Made
}

const linkTo = async (of: TestRecording, token?: string) => (await makeLink(of, { token })).url
const tokenOf = (link: string) => new URL(link).searchParams.get('token') ?? ''
const codeOf = ({ status, text }: Answer) => [status, status < 400 ? undefined : JSON.parse(text).code]
const lifetimeSeconds = ({ expires_at }: Made) => Math.round((Date.parse(expires_at) - clock.now()) / 1000)

describe('a playback link', () => {
  test('plays from every instance that is given the same secret', async () => {
    const RECORDINGS_PLAYBACK_LINK_SECRET = 'a secret of the links, at least thirty-two bytes'
    const own = await startService({ env: { RECORDINGS_PLAYBACK_LINK_SECRET } })
    const its = await record(own, '0123456789')
    const made = await own.api('POST', `${its.url}/playback-links`, { body: {} })
    const { url } = (await made.json()) as Made
    await own.restart()
    expect((await ask(url)).text).toBe('0123456789')
    expect(await readdir(own.dir)).not.toContain('playback-links-secret')
    await own.restart({ RECORDINGS_PLAYBACK_LINK_SECRET: `another ${RECORDINGS_PLAYBACK_LINK_SECRET}` })
    expect((await ask(url)).status).toBe(401)
  })

  test('plays without a header: whole, in ranges, by HEAD, as a download', async () => {
    const made = await makeLink(recording)
    expect(made.status).toBe(201)
    expect(made.url.startsWith(`${recording.url}?token=`)).toBe(true)
    expect(lifetimeSeconds(made)).toBeCloseTo(600, -0.5)
    expect((await ask(made.url)).text).toBe('0123456789')
    expect(await ask(made.url, 'GET', { range: 'bytes=-3' })).toMatchObject({ status: 206, text: '789' })
    expect(await ask(made.url, 'HEAD')).toMatchObject({ status: 200, headers: { 'content-length': '10' } })
    expect((await ask(`${made.url}&download`)).headers['content-disposition']).toMatch(/^attachment/)
  })

  test('is told to nobody on the way: no cache keeps the answer that makes it', async () => {
    const res = await service.api('POST', `${recording.url}/playback-links`)
    expect(res.headers.get('cache-control')).toBe('no-store')
  })

  test.for([
    [{ expires_in_seconds: 30 }, 30],
    [{ expires_in_seconds: 3_600 }, 3_600],
    [{ expires_in_seconds: 999_999 }, 3_600],
    [{}, 600],
  ] as const)('asked for with %j lives as long as it says', async ([body, seconds]) => {
    const made = await makeLink(recording, { body })
    expect(made.status).toBe(201)
    expect(Math.abs(lifetimeSeconds(made) - seconds)).toBeLessThanOrEqual(1)
  })

  test.for([0, -1, 1.5, '60', null, true, 1e300])('asked for with expires_in_seconds %j is 400', async (value) => {
    const made = await makeLink(recording, { body: { expires_in_seconds: value } })
    expect([made.status, made.code]).toEqual([400, 'invalid_parameter'])
  })

  test('asked for with a body that is not JSON is refused', async () => {
    const post = (body: string, type: string) =>
      service.api('POST', `${recording.url}/playback-links`, { body, headers: { 'content-type': type } })
    expect((await post('{"expires_in_seconds"', 'application/json')).status).toBe(400)
    expect((await post('expires_in_seconds=60', 'application/x-www-form-urlencoded')).status).toBe(415)
  })

  test('is for those who may hear the recording', async () => {
    const statuses = []
    for (const token of [telecaller, supervisor, crm, other, null]) {
      statuses.push((await makeLink(recording, { token })).status)
    }
    expect(statuses).toEqual([201, 201, 201, 403, 401])
    const gone = { ...recording, url: `${recording.url.slice(0, -1)}_` }
    expect((await makeLink(gone)).code).toBe('recording_not_found')
  })
})

describe('what a link does not do', () => {
  test('it plays no other recording', async () => {
    const another = await record(service, 'another')
    const sameLead = await record(service, 'same lead', {
      lead: {
        leadId: recording.leadId,
        callLogId: recording.callLogId,
        uploads: `${service.url}/api/leads/${recording.leadId}/uploads`,
        recordings: `${service.url}/api/leads/${recording.leadId}/recordings`,
      },
    })
    const token = tokenOf(await linkTo(recording))
    for (const { url } of [another, sameLead]) {
      expect(codeOf(await ask(`${url}?token=${token}`))).toEqual([401, 'link_invalid'])
    }
  })

  test('it is no login', async () => {
    const token = tokenOf(await linkTo(recording, crm))
    const authorization = `Bearer ${token}`
    for (const [method, url] of [
      ['GET', recording.url],
      ['GET', `${recording.url}/details`],
      ['GET', recording.url.replace(/\/[^/]+$/, '')],
      ['DELETE', recording.url],
      ['POST', `${recording.url}/playback-links`],
    ] as const) {
      expect(codeOf(await ask(url, method, { authorization })), `${method} ${url}`).toEqual([401, 'unauthenticated'])
    }
  })

  test('it opens GET and HEAD of the bytes alone', async () => {
    const query = new URL(await linkTo(recording)).search
    for (const [method, path] of [
      ['DELETE', ''],
      ['GET', '/details'],
      ['POST', '/playback-links'],
    ] as const) {
      expect((await ask(recording.url + path + query, method)).status, method + path).toBe(401)
    }
    expect((await ask(recording.url + query)).status).toBe(200)
  })

  test('a login is no link', async () => {
    for (const token of [telecaller, crm]) {
      expect(codeOf(await ask(`${recording.url}?token=${token}`))).toEqual([401, 'link_invalid'])
    }
  })

  test('a login that names this very recording is no link either', async () => {
    const imitation = await tokenFor(decodeJwt(tokenOf(await linkTo(recording))))
    expect(codeOf(await ask(`${recording.url}?token=${imitation}`))).toEqual([401, 'link_invalid'])
  })

  test('no token that was tampered with plays', async () => {
    const token = tokenOf(await linkTo(recording))
    const [head = '', payload = '', signature = ''] = token.split('.')
    const none = Buffer.from(JSON.stringify({ ...decodeProtectedHeader(token), alg: 'none' })).toString('base64url')
    const service = Buffer.from(JSON.stringify({ ...decodeJwt(token), role: 'service' })).toString('base64url')
    const resigned = createHmac('sha256', '').update(`${head}.${service}`).digest('base64url')
    for (const forged of [
      '',
      'x',
      `${head}.${payload}`,
      `${head}.${payload}.`,
      `${none}.${payload}.`,
      `${head}.${service}.${signature}`,
      `${head}.${service}.${resigned}`,
    ]) {
      expect(codeOf(await ask(`${recording.url}?token=${forged}`)), forged).toEqual([401, 'link_invalid'])
    }
    expect((await ask(`${recording.url}?token=${token}&token=${token}`)).status).toBe(400)
  })
})

describe('another scheme beside a link', () => {
  test.for(['Basic dTpw', 'Digest username="u"', 'bearertoken', ''])(
    'does not beat it: "%s"',
    async (authorization) => {
      const link = await linkTo(recording)
      expect((await ask(link, 'GET', { authorization })).text).toBe('0123456789')
      expect((await ask(recording.url, 'GET', { authorization })).status).toBe(401)
    },
  )
  test('but a login does', async () => {
    const link = await linkTo(recording)
    const as = (authorization: string) => ask(link, 'GET', { authorization })
    expect((await as(`Bearer ${other}`)).status).toBe(403)
    expect((await as(`bearer ${telecaller}`)).status).toBe(200)
    expect((await as('Bearer')).status).toBe(401)
    expect((await as('Bearer x')).status).toBe(401)
  })
})

describe('a link ends', () => {
  test('when its time is up: 401, which a page elsewhere can read and ask for a new one', async () => {
    const { url } = await makeLink(recording, { body: { expires_in_seconds: 60 } })
    clock.advance(58_000)
    expect((await ask(url)).status).toBe(200)
    clock.advance(3_000)
    const res = await ask(url, 'GET', { origin: 'https://crm.example', range: 'bytes=0-1' })
    expect(codeOf(res)).toEqual([401, 'link_expired'])
    expect(res.headers['access-control-allow-origin']).toBe('https://crm.example')
    expect(res.headers['www-authenticate']).toMatch(/^Bearer /)
  })

  test('when the lead moves to another telecaller; a supervisor hears on', async () => {
    const moving = await record(service, 'moving')
    const links = { telecaller: await linkTo(moving), supervisor: await linkTo(moving, supervisor) }
    const moved = await service.api('PUT', `/api/leads/${moving.leadId}`, {
      token: crm,
      body: { telecaller_id: 'telecaller-b' },
    })
    expect(moved.status).toBe(200)
    expect(codeOf(await ask(links.telecaller, 'GET', { range: 'bytes=0-0' }))).toEqual([403, 'not_your_lead'])
    expect((await ask(links.supervisor)).text).toBe('moving')
    expect((await makeLink(moving, { token: other })).status).toBe(201)
  })

  test('when who asked for it is no supervisor any more: their newest token tells; and again plays when they are', async () => {
    const played = await record(service, 'role')
    const sub = 'auth0|promoted'
    const iat = Math.floor(clock.now() / 1000) - 100
    const as = (role: string, seconds: number) => tokenFor({ sub, role, iat: iat + seconds, exp: iat + 86_400 })
    const look = async (token: string) => service.api('GET', `/api/leads/${played.leadId}/recordings`, { token })
    const link = await linkTo(played, await as('supervisor', 0))
    expect((await ask(link)).text).toBe('role')
    expect((await look(await as('telecaller', 10))).status).toBe(403)
    expect(codeOf(await ask(link))).toEqual([403, 'not_your_lead'])
    expect((await look(await as('supervisor', 5))).status).toBe(200) // an older token, which still holds
    expect(codeOf(await ask(link))).toEqual([403, 'not_your_lead'])
    await look(await as('supervisor', 20))
    expect((await ask(link)).text).toBe('role')
  })

  test('when the recording is deleted, even in the middle of listening', async () => {
    const doomed = await record(service, 'doomed')
    const link = await linkTo(doomed)
    expect((await ask(link, 'GET', { range: 'bytes=0-0' })).status).toBe(206)
    expect((await service.api('DELETE', doomed.url)).status).toBe(204)
    expect(codeOf(await ask(link, 'GET', { range: 'bytes=1-1' }))).toEqual([404, 'recording_not_found'])
  })
})

test('a link outlives a restart, and its token is in no log', { timeout: 30_000 }, async () => {
  const server = await startProcess()
  const played = await record(server, '0123456789')
  const made = await server.api('POST', `${played.url}/playback-links`)
  const { url } = (await made.json()) as Made
  await server.restart()
  expect((await ask(url)).text).toBe('0123456789')
  const path = new URL(url).pathname
  const line = await server.line(({ url: logged, status }) => status === 200 && String(logged).startsWith(path))
  expect(line).toMatchObject({ url: `${path}?token=***`, callerId: 'telecaller-a' })
  expect(JSON.stringify(server.lines)).not.toContain(tokenOf(url).slice(0, 20))
})
