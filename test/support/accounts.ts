/** What a server holds at the end of a run with faults, against what its clients were told. */
import { expect } from 'vitest'
import { isS3 } from './home.ts'
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

/** Every file whole, exactly one recording each, and nothing else on the disk once the rest has expired. */
export async function expectExactly(server: ServerProcess, leadIds: string[], stored: Stored[]) {
  const listed = (await Promise.all(leadIds.map((leadId) => listOf(server, leadId)))).flat()
  const facts = (all: { sha256: string; size: number }[]) => all.map((each) => `${each.sha256} ${each.size}`).sort()
  expect(facts(listed)).toEqual(facts(stored))
  expect(listed.map((each) => each.id).sort()).toEqual(stored.map((each) => each.recordingId).sort())
  expect(await runCommand(['verify'], server)).toMatchObject({ code: 0 })

  const env = { RECORDINGS_UPLOAD_EXPIRES_AFTER: '1s' }
  await server.restart(env)
  const left = async () => {
    // What no row names lies under names of its own there: it is looked for once an hour, or when it is asked for.
    if (isS3) await runCommand(['sweep'], { dir: server.dir, env })
    return server.files('uploads')
  }
  await expect.poll(left, { timeout: isS3 ? 60_000 : 15_000 }).toEqual([])
  expect(await server.files('recordings')).toHaveLength(stored.length)
  const alarms = server.lines.filter((line) => /ALARM/.test(line.msg))
  expect(alarms).toEqual([])
}
