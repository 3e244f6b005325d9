/**
 * One failing call at each write, sync, rename and open: whichever it is, the client hears that it may try again, goes on,
 * and has one recording in the end.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { expectExactly } from '../support/accounts.ts'
import { type ServerProcess, startProcess } from '../support/process.ts'
import { type Stored, storeByForm, storeByReplacedChunks, storeByTus } from '../support/stubborn.ts'
import { noise } from '../support/tus.ts'

function hasStrace(): boolean {
  const { status, error } = spawnSync('strace', ['-V'])
  if (status !== 0 && process.env.CI === 'true') throw error ?? new Error('strace is missing')
  return status === 0
}

/** Has the n-th of these calls in each thread of the server fail while `work` is done; how many did. */
async function withFailing(server: ServerProcess, calls: string, nth: number, work: () => Promise<void>) {
  const inject = ['-e', `trace=${calls}`, '-e', `inject=${calls}:error=EIO:when=${nth}`]
  const strace = spawn('strace', ['-f', '-p', String(server.pid), ...inject], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  const attached = new Promise<void>((resolve) => {
    strace.stderr.on('data', (piece: Buffer) => {
      said += piece
      if (said.includes('attached')) resolve()
    })
  })
  try {
    await attached
    await work()
  } finally {
    const closed = once(strace, 'close')
    strace.kill('SIGINT')
    await closed
  }
  return said.match(/\(INJECTED\)/g)?.length ?? 0
}

const DOORS = {
  'tus, in two PATCHes': storeByTus,
  'chunks, the last first and one replaced': storeByReplacedChunks,
  'a form': storeByForm,
} as const
const CALLS = {
  write: ['pwrite64,pwritev', 8],
  sync: ['fsync,fdatasync', 8],
  rename: ['rename,renameat,renameat2', 3],
  open: ['openat', 6],
} as const
type Door = keyof typeof DOORS
type Kind = keyof typeof CALLS

async function storesThroughFailing(door: Door, kind: Kind) {
  // The calls are counted for each thread: a pool of one makes them one sequence.
  const server = await startProcess({ env: { UV_THREADPOOL_SIZE: '1', NODE_DISABLE_COMPILE_CACHE: '1' } })
  const ended = server.exited.then(() => Promise.reject(new Error('the server ended')))
  ended.catch(() => {})
  const [calls, upTo] = CALLS[kind]
  const stored: Stored[] = []
  const leadIds: string[] = []
  let failures = 0
  for (let nth = 1; nth <= upTo; nth++) {
    const lead = await server.lead()
    leadIds.push(lead.leadId)
    const errand = { client: server, lead, bytes: noise(120_000), stepBytes: 60_000 }
    const failed = await withFailing(server, calls, nth, async () => {
      stored.push(await Promise.race([DOORS[door](errand), ended]))
    })
    if (failed === 0) break
    failures += failed
  }
  console.log(`${failures} calls failed at ${kind}, for ${stored.length} uploads by ${door}`)
  expect(failures).toBeGreaterThan(0)
  await expectExactly(server, leadIds, stored)
}

const rows = Object.keys(DOORS).flatMap((door) => Object.keys(CALLS).map((kind) => [kind, door] as [Kind, Door]))

describe.skipIf(!hasStrace())('one call that fails, the 1st, the 2nd and so on', () => {
  test.for(rows)(
    'of kind %s, while a file comes by %s: it is tried again, and costs nothing that was acknowledged',
    ([kind, door]) => storesThroughFailing(door, kind),
  )
})
