/** deploy/nginx.conf as it is shipped: TLS and HTTP/2, and Debian's own user for its workers. */
import { spawnSync } from 'node:child_process'
import { chmod } from 'node:fs/promises'
import { type ClientHttp2Session, connect, type OutgoingHttpHeaders } from 'node:http2'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hasNginx, type Nginx, startNginx } from './support/nginx.ts'
import { record } from './support/recordings.ts'
import { startService, type TestService } from './support/service.ts'
import { metadata, OFFSET_TYPE } from './support/tus.ts'

const isRoot = process.getuid?.() === 0

describe.skipIf(!hasNginx || !isRoot)(
  'behind nginx with TLS (skipped without nginx, or the right to choose its user)',
  () => {
    let service: TestService
    let nginx: Nginx
    let session: ClientHttp2Session

    beforeAll(async () => {
      service = await startService({
        env: { RECORDINGS_ACCEL_REDIRECT: '/protected-recordings/', RECORDINGS_TRUST_PROXY: 'loopback' },
      })
      const recordingsDir = path.join(service.dir, 'recordings')
      nginx = await startNginx({ upstream: service.url, recordingsDir, user: 'www-data', tls: true })
      session = connect(nginx.origin, { ca: nginx.ca })
      // Of no interest: a request that fails says so itself.
      session.on('error', () => {})
    })
    afterAll(async () => {
      session?.destroy()
      await nginx?.stop()
    })

    async function ask(headers: OutgoingHttpHeaders, body?: Buffer) {
      const stream = session.request({ authorization: `Bearer ${service.tokens.telecaller}`, ...headers })
      stream.end(body)
      const [answered] = await new Promise<[Record<string, unknown>]>((resolve, reject) => {
        stream.once('response', (head) => resolve([head])).once('error', reject)
      })
      return { headers: answered, status: answered[':status'], body: await buffer(stream) }
    }
    const play = (url: string, headers: OutgoingHttpHeaders = {}) => ask({ ':path': new URL(url).pathname, ...headers })

    test('what nginx may not read the service sends, and what it may nginx sends: no listener sees a 403', async () => {
      const { url, leadId } = await record(service, '0123456789')
      expect(await play(url)).toMatchObject({ status: 200, body: Buffer.from('0123456789') })
      expect(nginx.accessLog().trim()).toMatch(/HTTP\/2\.0" 200 .* service-since-nginx-failed$/)
      expect(service.service.events.counters.nginxCouldNotSend).toBe(1)

      // As where both run as one user.
      for (const dir of [service.dir, path.join(service.dir, 'recordings')]) await chmod(dir, 0o711)
      spawnSync('chown', ['-R', 'www-data', path.join(service.dir, 'recordings', leadId)])
      const part = await play(url, { range: 'bytes=2-4' })
      expect(part).toMatchObject({ status: 206, body: Buffer.from('234') })
      expect(part.headers['content-range']).toBe('bytes 2-4/10')
      expect(part.headers['x-content-type-options']).toBe('nosniff')
      expect(nginx.accessLog().trim().split('\n').at(-1)).toMatch(/HTTP\/2\.0" 206 .* nginx$/)
      expect(service.service.events.counters.nginxCouldNotSend).toBe(1)
    })

    test('an upload goes through, and its address is the one that the client sees', async () => {
      const { uploads, callLogId } = await service.lead()
      const tus = { 'tus-resumable': '1.0.0' }
      const created = await ask({
        ...tus,
        ':method': 'POST',
        ':path': new URL(uploads).pathname,
        'upload-length': '10',
        'upload-metadata': metadata({ filename: 'a.wav', call_log_id: callLogId }),
      })
      expect(created.status).toBe(201)
      const location = created.headers.location as string
      expect(location.startsWith(`${nginx.origin}/api/leads/`)).toBe(true)
      const sent = await ask(
        {
          ...tus,
          ':method': 'PATCH',
          ':path': new URL(location).pathname,
          'upload-offset': '0',
          'content-type': OFFSET_TYPE,
        },
        Buffer.from('0123456789'),
      )
      expect(sent.status).toBe(204)
      expect(await play(sent.headers['content-location'] as string)).toMatchObject({ status: 200 })
    })
  },
)
