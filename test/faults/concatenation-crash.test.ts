import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { startProcess } from '../support/process.ts'
import { jsonOf } from '../support/service.ts'
import { metadata, noise, tusClient } from '../support/tus.ts'

const server = await startProcess()
const tus = tusClient(server.tokens.telecaller)

test.for(['concatenated', 'part-renamed', 'part-copied', 'part-removed', 'moved'])(
  'a server killed when a concatenation has come to "%s" makes one recording of it, asked for again or not',
  async (step) => {
    await server.restart({ RECORDINGS_TEST_CRASH_AT: step })
    const lead = await server.lead()
    const pieces = [noise(300_000), noise(200_000), noise(1), noise(100_000)]
    const urls: string[] = []
    for (const bytes of pieces) {
      const made = await tus.create(
        lead.uploads,
        { 'upload-length': String(bytes.length), 'upload-concat': 'partial' },
        bytes,
      )
      urls.push(made.headers.get('location') as string)
    }
    const final = () =>
      tus.create(lead.uploads, {
        'upload-concat': `final;${urls.join(' ')}`,
        'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
      })
    await expect(final()).rejects.toThrow()
    expect(await server.exited).toMatchObject({ signal: 'SIGKILL' })
    await server.restart({ RECORDINGS_TEST_CRASH_AT: '' })

    const listed = async () => (await jsonOf(await server.api('GET', lead.recordings))).recordings as object[]
    await expect.poll(listed, { timeout: 5_000 }).toHaveLength(1)
    const sha256 = createHash('sha256').update(Buffer.concat(pieces)).digest('hex')
    const [recording] = await listed()
    expect(recording).toMatchObject({ size: 600_001, sha256 })
    const again = await final()
    expect([again.status, again.headers.get('recording-id')]).toEqual([201, (recording as { id: string }).id])
    expect(await listed()).toHaveLength(1)
    expect(await server.files('uploads')).toEqual([])
    for (const url of urls) expect((await tus.head(url)).status).toBe(410)
  },
)
