import { expect, test } from 'vitest'
import { startProcess } from './support/process.ts'
import { noise, tusClient } from './support/tus.ts'

test('a killed server goes on where the client was told it stood', async () => {
  const server = await startProcess()
  const tus = tusClient(server.tokens.telecaller)
  const bytes = noise(200_000)
  const upload = await tus.begin(await server.lead(), bytes.length)
  await tus.patch(upload, 0, bytes.subarray(0, 80_000))

  expect(await server.kill('SIGKILL')).toEqual({ code: null, signal: 'SIGKILL' })
  await server.restart()

  const offset = Number((await tus.head(upload)).headers.get('upload-offset'))
  expect(offset).toBe(80_000)
  const last = await tus.patch(upload, offset, bytes.subarray(offset))
  expect(last.headers.get('recording-id')).not.toBeNull()
  expect(await server.files('uploads')).toEqual([])
  expect(await server.files('recordings')).toHaveLength(1)
  expect(await server.openFiles()).toBeGreaterThan(3)
  expect((await server.memory()).rssBytes).toBeGreaterThan(10 * 2 ** 20)
})
