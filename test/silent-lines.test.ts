/** A line is silent when its client sends nothing; not while a disk keeps us from reading what it has sent. */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { expect, onTestFinished, test, vi } from 'vitest'
import { connectTo } from './support/raw.ts'
import { startService } from './support/service.ts'
import { noise, OFFSET_TYPE, tusClient } from './support/tus.ts'

const MEBIBYTE = 1024 * 1024
const IDLE_MS = 500

const harness = await startService({ env: { RECORDINGS_IDLE_TIMEOUT: `${IDLE_MS}ms` } })
const { telecaller } = harness.tokens
const tus = tusClient(telecaller)

/** The disk takes nothing from the first write on, until what this gives is called. */
function stallingDisk(): () => void {
  const { writev } = fs
  const waiting: (() => void)[] = []
  const stalled = (...asked: Parameters<typeof writev>) => void waiting.push(() => writev(...asked))
  fs.writev = Object.assign(stalled, writev)
  syncBuiltinESMExports()
  return () => {
    fs.writev = writev
    syncBuiltinESMExports()
    for (const go of waiting.splice(0)) go()
  }
}

test('a disk that stands still for longer than the idle timeout costs no connection; a client that is silent then does', async () => {
  const url = await tus.begin(await harness.lead(), 8 * MEBIBYTE)
  const line = await connectTo(harness.url)
  const goOn = stallingDisk()
  onTestFinished(goOn)
  line.head('PATCH', url, {
    Authorization: `Bearer ${telecaller}`,
    'Tus-Resumable': '1.0.0',
    'Content-Type': OFFSET_TYPE,
    'Upload-Offset': '0',
    'Content-Length': String(8 * MEBIBYTE),
  })
  const ended = vi.fn()
  void line.closed.then(ended)
  line.send(noise(6 * MEBIBYTE))
  await new Promise((later) => setTimeout(later, 3 * IDLE_MS))
  expect(ended).not.toHaveBeenCalled()
  goOn()
  await line.closed
  await expect.poll(async () => (await tus.head(url)).headers.get('upload-offset')).toBe(String(6 * MEBIBYTE))
})
