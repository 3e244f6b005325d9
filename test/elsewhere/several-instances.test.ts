/** Instances that share a database and a store: what a client sees that comes to another one each time. */
import { eq } from 'drizzle-orm'
import { describe, expect, test } from 'vitest'
import { type UploadRow, uploads } from '../../src/db/schema.ts'
import { ask } from '../support/claims.ts'
import { hasPostgres, postgres } from '../support/postgres.ts'
import { tablesIn } from '../support/postgres-tables.ts'
import { startProcess } from '../support/process.ts'
import { connectTo } from '../support/raw.ts'
import { startService, type TestLead, type TestService } from '../support/service.ts'
import { metadata, noise, OFFSET_TYPE, stagedBytes, tusClient } from '../support/tus.ts'

const BOUNDARY = 'x-boundary'
const MOST_OPEN = 30
const LINKS = 'a secret of the links, at least thirty-two bytes'

describe.skipIf(!hasPostgres)('of several instances', async () => {
  const url = hasPostgres ? await (await postgres()).database() : ''
  const env: Record<string, string> = {
    RECORDINGS_DATABASE_URL: url,
    RECORDINGS_PLAYBACK_LINK_SECRET: LINKS,
    RECORDINGS_MAX_UPLOADS_PER_CALLER: String(MOST_OPEN),
  }
  const a = await startService({ env })
  const b = await startService({ env: { ...env, RECORDINGS_DATA_DIR: a.dir } })
  const tus = tusClient(a.tokens.telecaller)
  const rowOf = async (id: string): Promise<UploadRow | undefined> =>
    (
      await tablesIn(url, (tables) =>
        tables
          .select()
          .from(uploads as never)
          .where(eq(uploads.id, id)),
      )
    ).at(0) as never

  /** An address as seen at another instance. */
  const at = ({ url: base }: { url: string }, address: string) => {
    const { pathname, search } = new URL(address)
    return `${base}${pathname}${search}`
  }
  const idOf = (address: string) => address.split('/').pop() as string

  /** A PATCH of which half has come, on a line that says no more. */
  async function silentPatch(address: string, bytes: Buffer) {
    const connection = await connectTo(address, { authorization: `Bearer ${a.tokens.telecaller}` })
    connection.head('PATCH', address, {
      ...{ 'tus-resumable': '1.0.0', 'content-type': OFFSET_TYPE, 'upload-offset': '0' },
      'content-length': String(bytes.length),
    })
    connection.send(bytes.subarray(0, bytes.length / 2))
    await expect.poll(() => stagedBytes(a, address)).toBeGreaterThan(0)
    return connection
  }

  /** A form of which the file has begun. */
  async function silentForm({ url: base }: { url: string }, lead: TestLead) {
    const connection = await connectTo(base, { authorization: `Bearer ${a.tokens.telecaller}` })
    connection.head('POST', at({ url: base }, lead.recordings), {
      'content-type': `multipart/form-data; boundary=${BOUNDARY}`,
      'content-length': '100000',
    })
    connection.send(
      `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="${lead.leadId}.wav"\r\n\r\nRIFF`,
    )
    const begun = async () =>
      (
        (await tablesIn(url, (tables) =>
          tables
            .select()
            .from(uploads as never)
            .where(eq(uploads.filename, `${lead.leadId}.wav`)),
        )) as UploadRow[]
      ).at(0)?.id
    await expect.poll(begun).toBeDefined()
    return { connection, id: (await begun()) as string }
  }

  test('each takes the next PATCH of an upload, and the recording is what was sent', async () => {
    const bytes = noise(30_000)
    const address = await tus.begin(await a.lead(), bytes.length)
    for (const [n, instance] of [b, a, b].entries()) {
      const res = await tus.patch(at(instance, address), n * 10_000, bytes.subarray(n * 10_000, (n + 1) * 10_000))
      expect([res.status, res.headers.get('upload-offset')]).toEqual([204, String((n + 1) * 10_000)])
      const other: TestService = instance === a ? b : a
      expect((await tus.head(at(other, address))).headers.get('upload-offset')).toBe(String((n + 1) * 10_000))
    }
    const head = await tus.head(at(a, address))
    const recording = await fetch(at(a, head.headers.get('content-location') as string), {
      headers: { authorization: `Bearer ${a.tokens.telecaller}` },
    })
    expect(Buffer.from(await recording.arrayBuffer()).equals(bytes)).toBe(true)
  })

  test('one that holds a line which says no more gives the upload to another one, with the bytes that have come', async () => {
    const bytes = noise(800_000)
    const address = await tus.begin(await a.lead(), bytes.length)
    const silent = await silentPatch(address, bytes)
    await expect.poll(() => stagedBytes(a, address)).toBe(400_000)
    const head = await tus.head(at(b, address))
    expect(head.headers.get('upload-offset')).toBe('400000')
    expect((await tus.patch(at(b, address), 400_000, bytes.subarray(400_000))).status).toBe(204)
    expect((await silent.answer()).status).toBeGreaterThanOrEqual(400)
    silent.destroy()
  })

  test('two that are sent the same PATCH at once take it once', async () => {
    for (let n = 0; n < 5; n++) {
      const bytes = noise(5_000)
      const address = await tus.begin(await a.lead(), 2 * bytes.length)
      const both = await Promise.all([a, b].map((each) => tus.patch(at(each, address), 0, bytes)))
      const statuses = both.map(({ status }) => status).sort()
      expect(statuses[0]).toBe(204)
      expect([409, 423]).toContain(statuses[1])
      expect((await tus.head(at(b, address))).headers.get('upload-offset')).toBe('5000')
    }
  })

  test('one that is killed leaves its uploads to the others at once; its forms are ended, those of the living are not', async () => {
    const killed = await startProcess({ dir: a.dir, env })
    const bytes = noise(800_000)
    const address = await tus.begin(await a.lead(), bytes.length)
    await silentPatch(at(killed, address), bytes)
    // Older than the one that is left, so that the sweep comes to them first.
    const living = [await silentForm(a, await a.lead()), await silentForm(b, await a.lead())]
    const left = await silentForm(killed, await a.lead())
    await killed.kill()
    const startedAtMs = performance.now()
    expect((await tus.head(at(b, address))).status).toBe(200)
    expect(performance.now() - startedAtMs).toBeLessThan(5_000)
    await expect.poll(async () => (await rowOf(left.id))?.state, { timeout: 40_000 }).toBe('terminated')
    for (const { id, connection } of living) {
      expect((await rowOf(id))?.state).toBe('receiving')
      connection.destroy()
    }
  })

  test('what gives way to a new upload is none that another one has a request for', async () => {
    const theirs = tusClient(a.tokens.other)
    const lead = await a.lead('telecaller-b')
    const bytes = noise(1_000)
    const open: string[] = []
    for (let n = 0; n < MOST_OPEN; n++) open.push(await theirs.begin(lead, bytes.length))
    const [held = '', next = ''] = open
    const connection = await connectTo(held, { authorization: `Bearer ${a.tokens.other}` })
    connection.head('PATCH', held, {
      ...{ 'tus-resumable': '1.0.0', 'content-type': OFFSET_TYPE, 'upload-offset': '0' },
      'content-length': String(bytes.length),
    })
    const isClaimed = async () => (await ask(url, 'select from claims where upload_id = $1', [idOf(held)])).length
    await expect.poll(isClaimed).toBe(1)
    // Bytes may still follow what was begun a moment ago.
    const begin = () => theirs.begin({ ...lead, uploads: at(b, lead.uploads) }, bytes.length).catch(() => undefined)
    await expect.poll(begin, { timeout: 10_000 }).toBeDefined()
    expect((await rowOf(idOf(next)))?.state).toBe('expired')
    connection.send(bytes)
    expect((await connection.answer()).status).toBe(204)
    connection.destroy()
  })

  test('a whole upload whose caller has lost the lead expires, whichever of them was asked to finish it', async () => {
    const lead = await a.lead()
    const address = await tus.begin(lead, 100)
    await tus.patch(address, 0, noise(50))
    await a.api('PUT', `/api/leads/${lead.leadId}`, { token: a.tokens.crm, body: { telecaller_id: 'telecaller-b' } })
    await ask(url, 'update uploads set length = 50, last_byte_at_ms = 0 where id = $1', [idOf(address)])
    await a.service.sweep.run()
    await b.service.sweep.run()
    expect((await rowOf(idOf(address)))?.state).toBe('expired')
  })

  test('an upload that has been silent for too long is left alone while another one has a request for it', async () => {
    const bytes = noise(800_000)
    const address = await tus.begin(await a.lead(), bytes.length)
    const silent = await silentPatch(address, bytes)
    await ask(url, 'update uploads set last_byte_at_ms = 0, created_at_ms = 0 where id = $1', [idOf(address)])
    await b.service.sweep.run()
    expect((await rowOf(idOf(address)))?.state).toBe('receiving')
    silent.send(bytes.subarray(bytes.length / 2))
    expect((await silent.answer()).status).toBe(204)
    silent.destroy()
  })

  test('a link that one has made plays from another', async () => {
    const lead = await a.lead()
    const bytes = noise(100)
    const address = await tus.begin(lead, bytes.length)
    const { headers } = await tus.patch(address, 0, bytes)
    const made = await a.api('POST', `${headers.get('content-location')}/playback-links`, { body: {} })
    const link = ((await made.json()) as { url: string }).url
    expect((await fetch(at(b, link))).status).toBe(200)
  })

  test('a key under which an upload is begun at two at once begins one', async () => {
    const lead = await a.lead()
    const headers = {
      'upload-length': '100',
      'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
      'idempotency-key': `"${crypto.randomUUID()}"`,
    }
    const both = await Promise.all([a, b].map((each) => tus.create(at(each, lead.uploads), headers)))
    const ids = both.map((res) => idOf(res.headers.get('location') as string))
    expect(both.map(({ status }) => status)).toEqual([201, 201])
    expect(ids[0]).toBe(ids[1])
  })
})
