/** The sweep where rows name the objects that hold bytes. */
import { expect } from 'vitest'
import { newId } from '../../../src/ids.ts'
import { inBucket } from '../../support/home.ts'
import { failingMoves, idsStaged, movingClock, startService } from '../../support/service.ts'
import { noise, tusClient } from '../../support/tus.ts'

const HOUR = 3_600_000
const clock = movingClock()
const harness = await startService({ clock })
const tus = tusClient(harness.tokens.telecaller)
const sweep = () => harness.service.sweep.runWhole()
const idOf = (url: string) => url.split('/').pop() as string

/** An object that no row names, as a process leaves that ends between its PUT and its commit. */
const strayOf = (id: string) => harness.service.ingest.staging.of(id).write(noise(10), 0)

inBucket('objects that no row names go when they are too old to be on their way; those that count stay', async () => {
  const url = await tus.begin(await harness.lead(), 1_000)
  await tus.patch(url, 0, noise(100))
  const stray = newId()
  await strayOf(stray)
  await strayOf(idOf(url))
  await sweep()
  expect(await harness.files('uploads')).toHaveLength(3)
  clock.advance(2 * HOUR)
  await sweep()
  expect(await harness.files('uploads')).toHaveLength(1)
  expect(await idsStaged(harness)).toEqual([idOf(url)])
  const last = await tus.patch(url, 100, noise(900))
  expect([last.status, last.headers.has('recording-id')]).toEqual([204, true])
  await harness.service.ingest.settled()
})

inBucket('objects of an upload that is over go at once', async () => {
  const url = await tus.begin(await harness.lead(), 1_000)
  await tus.patch(url, 0, noise(100))
  expect((await tus.terminate(url)).status).toBe(204)
  await strayOf(idOf(url))
  await sweep()
  expect(await harness.files('uploads')).toEqual([])
})

inBucket('what a finish that came to nothing has put goes, and the recording of the next one stays', async () => {
  const lead = await harness.lead()
  const bytes = noise(1_000)
  const url = await tus.begin(lead, bytes.length)
  const before = await harness.files('recordings')
  const mend = failingMoves(harness.service)
  expect((await tus.patch(url, 0, bytes)).status).toBe(503)
  mend()
  expect((await tus.head(url)).headers.get('upload-offset')).toBe('1000')
  expect(await harness.files('recordings')).toHaveLength(before.length + 2)
  await sweep()
  expect(await harness.files('recordings')).toHaveLength(before.length + 1)
  const id = (await tus.head(url)).headers.get('recording-id')
  const played = await harness.api('GET', `${lead.recordings}/${id}`)
  expect(Buffer.from(await played.arrayBuffer()).equals(bytes)).toBe(true)
})
