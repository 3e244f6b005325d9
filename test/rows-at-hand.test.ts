import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { isPostgres } from './support/home.ts'
import { startService } from './support/service.ts'
import { noise, tusClient } from './support/tus.ts'

// One caller's uploads begin one after another over PostgreSQL: thousands take longer than a database is waited for.
test.skipIf(isPostgres)(
  'thousands of other uploads do not make the server forget one that is being written',
  async () => {
    const harness = await startService({ env: { RECORDINGS_MAX_UPLOADS_PER_CALLER: '100000' } })
    const { ingest, ownership } = harness.service
    const tus = tusClient(harness.tokens.telecaller)
    const lead = await harness.lead()
    const bytes = noise(3_000)
    const url = await tus.begin(lead, bytes.length)
    const id = url.split('/').pop() as string
    const body = new PassThrough()
    const appended = ownership.hold(id, new AbortController().signal, () => ingest.append(id, body))
    await Promise.all(
      Array.from({ length: 4_500 }, () =>
        ingest.begin({
          id: crypto.randomUUID(),
          door: 'tus',
          caller: { id: 'telecaller-a', role: 'telecaller' },
          leadId: lead.leadId,
          length: 10,
        }),
      ),
    )
    // What asks meanwhile must not be given a second record, which would fall behind.
    expect((await ingest.find(id)).offset).toBe(0)
    // Not before: what has come is committed now and then, and thousands may take their time.
    body.end(bytes.subarray(0, 1_000))
    expect((await appended).offset).toBe(1_000)
    expect((await tus.head(url)).headers.get('upload-offset')).toBe('1000')
    const last = await tus.patch(url, 1_000, bytes.subarray(1_000))
    expect(last.headers.get('recording-id')).not.toBeNull()
  },
)
