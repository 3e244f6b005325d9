import { eq } from 'drizzle-orm'
import { expect, test } from 'vitest'
import { recordings, tombstones, uploads } from '../src/db/schema.ts'
import { startProcess } from './support/process.ts'
import { startService } from './support/service.ts'
import { tablesOf } from './support/tables.ts'
import { noise, tusClient } from './support/tus.ts'

test('a recording whose delete is cut off by kill -9 leaves no bytes, though its upload is long forgotten', async () => {
  const server = await startProcess()
  const lead = await server.lead()
  const url = await tusClient(server.tokens.telecaller).begin(lead, 1_000)
  const res = await tusClient(server.tokens.telecaller).patch(url, 0, noise(1_000))
  const recording = `${lead.recordings}/${res.headers.get('recording-id')}`
  const pathOf = (address: string) => new URL(address).pathname
  const files = () => server.files('recordings')
  await server.kill()
  await tablesOf(server).delete(uploads).run()

  await server.restart({ RECORDINGS_TEST_CRASH_AT: 'deleted' })
  await expect(server.api('DELETE', pathOf(recording))).rejects.toThrow()
  await server.exited
  expect(await files()).toHaveLength(1)

  await server.restart({ RECORDINGS_TEST_CRASH_AT: '' })
  await server.line(({ event }) => event === 'strayRemoved')
  expect(await files()).toEqual([])
  expect((await server.api('DELETE', pathOf(recording))).status).toBe(404)
})

test('a recording whose file cannot be removed just now is deleted: 204, and the file goes when it can', async () => {
  const harness = await startService()
  const { library, sweep } = harness.service
  const lead = await harness.lead()
  const tus = tusClient(harness.tokens.telecaller)
  const res = await tus.patch(await tus.begin(lead, 1_000), 0, noise(1_000))
  const id = res.headers.get('recording-id') as string
  const { remove } = library
  library.remove = () => Promise.reject(Object.assign(new Error('the disk fails'), { code: 'EIO' }))
  expect((await harness.api('DELETE', `${lead.recordings}/${id}`)).status).toBe(204)
  expect((await harness.api('GET', `${lead.recordings}/${id}`)).status).toBe(404)
  await sweep.run()
  expect(await harness.files('recordings')).toHaveLength(1)
  library.remove = remove
  await sweep.run()
  expect(await harness.files('recordings')).toEqual([])
  expect(await tablesOf(harness).select().from(tombstones).all()).toEqual([])
  expect(await tablesOf(harness).select().from(recordings).where(eq(recordings.id, id)).all()).toEqual([])
})
