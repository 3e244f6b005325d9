import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { mayMount, mountTmpfs } from '../support/mounts.ts'
import { type ServerProcess, startProcess } from '../support/process.ts'
import { jsonOf, type TestLead } from '../support/service.ts'
import { DOORS, sha256 } from '../support/stubborn.ts'
import { noise, tusClient } from '../support/tus.ts'

const WHOLE_IS_MOVED = ['renamed', 'moved', 'recorded']
const STEPS = ['rights-checked', 'examined', ...WHOLE_IS_MOVED]
const COPY_STEPS = ['copied', 'copy-renamed', 'moved', 'recorded']
const LEGACY_STEPS = ['chunk-stored', 'early-moved', 'sealed', ...STEPS]

async function expectOne(server: ServerProcess, lead: TestLead, bytes: Buffer, recordingsDir?: string) {
  const { recordings } = (await jsonOf(await server.api('GET', lead.recordings))) as {
    recordings: { sha256: string }[]
  }
  expect(recordings.map((recording) => recording.sha256)).toEqual([sha256(bytes)])
  if (recordingsDir === undefined) expect(await server.files('recordings')).toHaveLength(1)
  // What a crash left beside it goes with the sweep of the start, or was taken up again.
  await expect.poll(() => server.files('uploads'), { timeout: 8_000 }).toEqual([])
}

/** The server is started again as soon as it has killed itself. */
async function restartAfterCrash(server: ServerProcess) {
  expect(await server.exited).toEqual({ code: null, signal: 'SIGKILL' })
  await server.restart({ RECORDINGS_TEST_CRASH_AT: '' })
}

async function crashing(step: string, env: Record<string, string> = {}) {
  const server = await startProcess({ env })
  const lead = await server.lead()
  await server.restart({ RECORDINGS_TEST_CRASH_AT: step })
  return { server, lead }
}

describe('kill -9 inside finishing', { timeout: 20_000 }, () => {
  test.for(STEPS)('at %s: the tus client goes on and gets its one recording', async (step) => {
    const { server, lead } = await crashing(step)
    const bytes = noise(300_000)
    const again = restartAfterCrash(server)
    const stored = await DOORS.tus({ client: server, lead, bytes, stepBytes: 100_000 })
    await again
    expect(stored.sha256).toBe(sha256(bytes))
    await expectOne(server, lead, bytes)
  })

  test.for(LEGACY_STEPS)('at %s: the legacy client goes on and gets its one recording', async (step) => {
    const { server, lead } = await crashing(step)
    const bytes = noise(300_000)
    const again = restartAfterCrash(server)
    await DOORS.legacy({ client: server, lead, bytes, stepBytes: 50_000 })
    await again
    await expectOne(server, lead, bytes)
  })

  test.for(STEPS)('at %s: the form is sent again and gives the one recording', async (step) => {
    const { server, lead } = await crashing(step)
    const bytes = noise(300_000)
    const again = restartAfterCrash(server)
    await DOORS.simple({ client: server, lead, bytes, stepBytes: 0 })
    await again
    const { recordings } = await jsonOf(await server.api('GET', lead.recordings))
    expect(recordings).toHaveLength(1)
    expect(await server.files('recordings')).toHaveLength(1)
  })

  test.for(WHOLE_IS_MOVED)('at %s: nobody comes back, and the next start makes it whole', async (step) => {
    const { server, lead } = await crashing(step)
    const tus = tusClient(server.tokens.telecaller)
    const bytes = noise(300_000)
    const url = await tus.begin(lead, bytes.length)
    const again = restartAfterCrash(server)
    await expect(tus.patch(url, 0, bytes)).rejects.toThrow()
    await again
    const count = async () => ((await jsonOf(await server.api('GET', lead.recordings))).recordings as unknown[]).length
    await expect.poll(count, { timeout: 8_000 }).toBe(1)
    await expectOne(server, lead, bytes)
  })
})

describe.skipIf(!mayMount())(
  'kill -9 inside finishing, the recordings on another file system (skipped: no mount)',
  () => {
    test.for(COPY_STEPS)('at %s: the client goes on and gets its one recording', async (step) => {
      const recordingsDir = path.join(await mkdtemp(path.join(tmpdir(), 'recordings-')), 'mounted')
      await mountTmpfs(recordingsDir, 64 * 2 ** 20)
      const { server, lead } = await crashing(step, { RECORDINGS_DIR: recordingsDir })
      const bytes = noise(300_000)
      const again = restartAfterCrash(server)
      await DOORS.tus({ client: server, lead, bytes, stepBytes: 100_000 })
      await again
      await expectOne(server, lead, bytes, recordingsDir)
    })
  },
)
