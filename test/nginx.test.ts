import { rm } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ask } from './support/http.ts'
import { hasNginx, type Nginx, startNginx } from './support/nginx.ts'
import { playbackCases } from './support/playback-cases.ts'
import { record } from './support/recordings.ts'
import { startService, type TestService } from './support/service.ts'

if (!hasNginx && process.env.CI) test('nginx is there (apt-get install nginx-light)', () => expect.unreachable())

describe.skipIf(!hasNginx)('behind nginx (skipped without the package nginx-light)', () => {
  let service: TestService
  let nginx: Nginx

  async function setup() {
    service ??= await startService({
      env: { RECORDINGS_ACCEL_REDIRECT: '/protected-recordings/', RECORDINGS_TRUST_PROXY: 'loopback' },
    })
    nginx ??= await startNginx({ upstream: service.url, recordingsDir: path.join(service.dir, 'recordings') })
    return { service, origin: nginx.origin }
  }
  afterAll(() => nginx?.stop())
  playbackCases(setup, true)

  describe('who does what', () => {
    beforeAll(setup)
    const authorization = () => ({ authorization: `Bearer ${service.tokens.supervisor}` })

    test('the service decides and sends no bytes; nginx sends them', async () => {
      const { url } = await record(service, '0123456789')
      const decided = await ask(url, 'GET', authorization())
      expect(decided.headers['x-accel-redirect']).toMatch(/^\/protected-recordings\/lead-\d+\/call-/)
      expect(decided.body).toHaveLength(0)
      const played = await ask(url.replace(service.url, nginx.origin), 'GET', {
        ...authorization(),
        range: 'bytes=2-4',
      })
      expect(played).toMatchObject({ status: 206, text: '234' })
      expect(played.headers.server).toMatch(/^nginx/)
    })

    test('the files have no address of their own', async () => {
      const { url } = await record(service, '0123456789')
      const address = (await ask(url, 'GET', authorization())).headers['x-accel-redirect']
      expect((await ask(nginx.origin + address, 'GET', authorization())).status).toBe(404)
    })

    test('a file that is gone is 404 and an alarm', async () => {
      const { url, leadId } = await record(service, '0123456789')
      await rm(path.join(service.dir, 'recordings', leadId), { recursive: true })
      const alarms = service.service.events.counters.recordingFileMissing
      const res = await ask(url.replace(service.url, nginx.origin), 'GET', authorization())
      expect(res.status).toBe(404)
      expect(JSON.parse(res.text)).toMatchObject({ code: 'recording_file_missing' })
      expect(service.service.events.counters.recordingFileMissing).toBe(alarms + 1)
    })

    test('a playback link carries the address that the listener sees, and its token is in no log', async () => {
      const { url } = await record(service, '0123456789')
      const made = await fetch(`${url.replace(service.url, nginx.origin)}/playback-links`, {
        method: 'POST',
        headers: authorization(),
      })
      const link = ((await made.json()) as { url: string }).url
      expect(link.startsWith(`${nginx.origin}/api/leads/`)).toBe(true)
      expect((await ask(link)).text).toBe('0123456789')
      const token = new URL(link).searchParams.get('token') ?? ''
      expect(nginx.accessLog()).toContain(new URL(link).pathname)
      expect(nginx.accessLog()).not.toContain(token.slice(0, 20))
    })

    const cannotRead = {
      'whose workers may not read the recordings': { user: 'nobody nogroup' },
      'with the wrong alias': { recordingsDir: '/nonexistent' },
    }
    for (const [name, options] of Object.entries(cannotRead)) {
      test.skipIf('user' in options && process.getuid?.() !== 0)(
        `nginx ${name}: the listener hears it from the service, and both logs say so`,
        async () => {
          const blind = await startNginx({
            upstream: service.url,
            recordingsDir: path.join(service.dir, 'recordings'),
            ...options,
          })
          try {
            const { url } = await record(service, '0123456789')
            const link = `${url.replace(service.url, blind.origin)}/playback-links`
            const made = await fetch(link, { method: 'POST', headers: authorization() })
            const address = ((await made.json()) as { url: string }).url
            const { nginxCouldNotSend: before } = service.service.events.counters
            const whole = await ask(address)
            expect(whole).toMatchObject({ status: 200, text: '0123456789' })
            expect(whole.headers['content-type']).toBe('audio/wav')
            const part = await ask(address, 'GET', { range: 'bytes=2-4' })
            expect(part).toMatchObject({ status: 206, text: '234' })
            expect(part.headers['content-range']).toBe('bytes 2-4/10')
            expect(service.service.events.counters.nginxCouldNotSend).toBe(before + 2)
            const played = blind.accessLog().match(/^.*"GET .*$/gm) ?? []
            expect(played.filter((line) => line.endsWith(' service-since-nginx-failed'))).toHaveLength(2)
            const token = new URL(address).searchParams.get('token') as string
            expect(blind.accessLog() + blind.errorLog()).not.toContain(token)

            const others = await ask(address.replace(/token=.*/, 'token=x'))
            expect(others).toMatchObject({ status: 401, text: expect.stringContaining('link_invalid') })
            const gone = await ask(`${blind.origin}/protected-recordings/x`, 'GET', authorization())
            expect(gone).toMatchObject({ status: 404, text: expect.stringContaining('route_not_found') })
          } finally {
            await blind.stop()
          }
        },
      )
    }

    test("a client cannot say in nginx' name that it failed", async () => {
      const { url } = await record(service, '0123456789')
      const before = service.service.events.counters.nginxCouldNotSend
      const res = await ask(url.replace(service.url, nginx.origin), 'GET', {
        ...authorization(),
        'x-accel-failed': 'yes',
      })
      expect(res).toMatchObject({ status: 200, text: '0123456789' })
      expect(service.service.events.counters.nginxCouldNotSend).toBe(before)
      expect(nginx.accessLog().trim().split('\n').at(-1)).toMatch(/ nginx$/)
    })
  })
})
