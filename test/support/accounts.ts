/** What a server holds at the end of a run with faults, against what its clients were told. */
import { expect } from 'vitest'
import { databaseUrlOf, isS3 } from './home.ts'
import { runCommand, type ServerProcess } from './process.ts'
import { jsonOf } from './service.ts'
import type { Stored } from './stubborn.ts'

interface Listed {
  id: string
  sha256: string
  size: number
}

async function listOf(server: ServerProcess, leadId: string): Promise<Listed[]> {
  const found: Listed[] = []
  for (let cursor = ''; ; ) {
    const page = await jsonOf(await server.api('GET', `/api/leads/${leadId}/recordings?limit=200${cursor}`))
    found.push(...(page.recordings as Listed[]))
    if (page.next_cursor === null) return found
    cursor = `&cursor=${page.next_cursor}`
  }
}

/** What rows tell of uploads under way once there are none, where instances share a database. */
const ROWS_LEFT = `select
  (select count(*)::int from segments) as segments,
  (select count(*)::int from uploads where state in ('receiving', 'finishing')) as "open uploads",
  (select count(*)::int from tombstones) as tombstones,
  (select count(*)::int from claims) as claims`
const NAMED = 'select path as key from recordings union select key from attempts'

/** Whatever lies where recordings lie is named by a row, also what a finish has left that came to nothing. */
async function expectNamed(server: ServerProcess) {
  const url = await databaseUrlOf(server.dir)
  if (url === undefined || !isS3) return
  const { ask } = await import('./claims.ts')
  const named = new Set((await ask(url, NAMED)).map(({ key }) => key))
  expect((await server.files('recordings')).filter((file) => !named.has(file))).toEqual([])
}

async function expectNoRowsLeft(server: ServerProcess) {
  const url = await databaseUrlOf(server.dir)
  if (url === undefined) return
  const { ask } = await import('./claims.ts')
  // Of what was asked last, the claim may just be going; those of instances that were killed go a minute later.
  const left = async () => (await ask(url, ROWS_LEFT))[0]
  await expect.poll(left, { timeout: 120_000 }).toEqual({ segments: 0, 'open uploads': 0, tombstones: 0, claims: 0 })
}

/** Every file whole, exactly one recording each, and nothing else on the disk once the rest has expired. */
export async function expectExactly(server: ServerProcess, leadIds: string[], stored: Stored[]) {
  const listed = (await Promise.all(leadIds.map((leadId) => listOf(server, leadId)))).flat()
  const facts = (all: { sha256: string; size: number }[]) => all.map((each) => `${each.sha256} ${each.size}`).sort()
  expect(facts(listed)).toEqual(facts(stored))
  expect(listed.map((each) => each.id).sort()).toEqual(stored.map((each) => each.recordingId).sort())
  expect(await runCommand(['verify'], server)).toMatchObject({ code: 0 })
  await expectSwept(server, leadIds, stored.length)
}

/** Strays are named by rows; once all uploads have expired, there are as many recordings and nothing else. */
export async function expectSwept(server: ServerProcess, leadIds: readonly string[], count: number) {
  await expectNamed(server)
  const env = { RECORDINGS_UPLOAD_EXPIRES_AFTER: '1s' }
  await server.restart(env)
  const left = async () => {
    // What no row names lies under names of its own there: it is looked for once an hour, or when it is asked for.
    if (isS3) await runCommand(['sweep'], { dir: server.dir, env })
    return server.files('uploads')
  }
  await expect.poll(left, { timeout: isS3 ? 60_000 + 50 * count : 15_000 }).toEqual([])
  const kept = (await server.files('recordings')).filter((file) => leadIds.includes(file.split('/')[0] as string))
  expect(kept).toHaveLength(count)
  await expectNoRowsLeft(server)
  const alarms = server.lines.filter((line) => /ALARM/.test(line.msg))
  expect(alarms).toEqual([])
}
