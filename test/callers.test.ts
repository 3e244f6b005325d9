import { describe, expect, test } from 'vitest'
import { ask } from './support/http.ts'
import { legacyClient } from './support/legacy.ts'
import { record } from './support/recordings.ts'
import { jsonOf, startService, tokenFor } from './support/service.ts'
import { noise, tusClient } from './support/tus.ts'

const service = await startService()

const CALLERS: [string, string?][] = [
  ['asha.rao+calls@crm.example'],
  ['auth0|5f7c1a'],
  ['urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66'],
  ['Asha Rao'],
  ['../../etc/passwd'],
  ["a'; DROP TABLE leads; --"],
  ['https://login.example/users/7?x=1#y'],
  ['आशा 🎧'],
  ['255 letters', 'ä'.repeat(255)],
  ['255 faces', '😀'.repeat(255)],
]

describe('whoever a token names uses every door and listens', () => {
  test.for(CALLERS)('%s', async ([name, sub = name]) => {
    const token = await tokenFor({ sub })
    const lead = await service.lead(sub)
    const other = await service.lead('somebody-else')
    const form = new FormData()
    form.set('file', new Blob(['by form']), 'a.wav')
    form.set('call_log_id', lead.callLogId)
    const headers = { authorization: `Bearer ${token}`, 'idempotency-key': 'one' }
    const simple = await fetch(lead.recordings, { method: 'POST', headers, body: form })
    expect(await jsonOf(simple)).toMatchObject({ telecaller_id: sub })

    const tus = tusClient(token)
    const done = await tus.patch(await tus.begin(lead, 5), 0, noise(5))
    const url = done.headers.get('content-location') as string

    const legacy = legacyClient(service, token)
    const uploadId = await legacy.begin(lead)
    expect((await legacy.append(lead, uploadId, 0, noise(3))).status).toBe(202)
    expect((await legacy.finalize(lead, uploadId, 1)).status).toBe(200)

    const list = (await jsonOf(await service.api('GET', lead.recordings, { token }))).recordings as { path: string }[]
    expect(list).toHaveLength(3)
    for (const { path } of list) expect(path).toMatch(/^lead-\d+\/call-\d+_\w+\.\w+$/)
    const link = await jsonOf(await service.api('POST', `${url}/playback-links`, { token }))
    expect((await ask(link.url as string)).status).toBe(200)
    expect((await ask(link.url as string)).body).toHaveLength(5)
    expect((await service.api('GET', other.recordings, { token })).status).toBe(403)
  })
})

test('two names that look alike are two callers', async () => {
  const composed = 'Jos\u00e9'
  const { url } = await record(service, 'x')
  const lead = await service.lead(composed)
  for (const sub of [composed.normalize('NFD'), `${composed} `, 'JOS\u00c9', 'Jose']) {
    expect((await service.api('GET', lead.recordings, { token: await tokenFor({ sub }) })).status).toBe(403)
  }
  expect((await service.api('GET', lead.recordings, { token: await tokenFor({ sub: composed }) })).status).toBe(200)
  expect((await ask(url)).status).toBe(401)
})

test('ids of leads, call logs and uploads keep their alphabet', async () => {
  const put = async (path: string) =>
    (await service.api('PUT', path, { token: service.tokens.crm, body: { telecaller_id: 'a' } })).status
  expect(await put('/api/leads/a%7Cb')).toBe(400)
  const { leadId, uploads } = await service.lead()
  expect(await put(`/api/leads/${leadId}/call-logs/a%40b`)).toBe(400)
  expect((await tusClient(service.tokens.telecaller).head(`${uploads}/a%7Cb`)).status).toBe(404)
})
