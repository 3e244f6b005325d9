/**
 * Leads, calls and recordings are asked for at every request, and SQLite's answer is remembered: a right that was taken away
 * counts with the next request all the same, whoever wrote it.
 */
import Sqlite from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { changedBy } from '../src/db/rows-at-hand.ts'
import { isPostgres } from './support/home.ts'
import { startService } from './support/service.ts'
import { metadata, noise, tusClient } from './support/tus.ts'

const harness = await startService()

/** A lead whose recording has been played, so that its rows are remembered. */
async function played() {
  const tus = tusClient(harness.tokens.telecaller)
  const lead = await harness.lead()
  const bytes = noise(1_000)
  const done = await tus.patch(await tus.begin(lead, bytes.length), 0, bytes)
  const address = done.headers.get('content-location') as string
  const begins = async () => {
    const res = await tus.create(lead.uploads, {
      'upload-length': '10',
      'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
    })
    return res.status
  }
  const play = async () =>
    (await fetch(address, { headers: { authorization: `Bearer ${harness.tokens.telecaller}` } })).status
  expect([await play(), await play()]).toEqual([200, 200])
  return { lead, address, begins, play }
}

describe('this process', () => {
  test('gives a lead to another telecaller: the first hears 403 at once', async () => {
    const { lead, begins, play } = await played()
    expect(await begins()).toBe(201)
    const owned = async (telecallerId: string) => {
      const res = await fetch(`${harness.url}/api/leads/${lead.leadId}`, {
        method: 'PUT',
        headers: { authorization: `Bearer ${harness.tokens.crm}`, 'content-type': 'application/json' },
        body: JSON.stringify({ telecaller_id: telecallerId }),
      })
      expect(res.status).toBe(200)
    }
    await owned('another')
    expect([await begins(), await play()]).toEqual([403, 403])
    await owned('telecaller-a')
    expect([await begins(), await play()]).toEqual([201, 200])
  })

  test('deletes a recording: it is not found at once', async () => {
    const { address, play } = await played()
    const headers = { authorization: `Bearer ${harness.tokens.crm}` }
    expect((await fetch(address, { method: 'DELETE', headers })).status).toBe(204)
    expect(await play()).toBe(404)
  })
})

describe.skipIf(isPostgres)('another process that writes to the database', () => {
  async function playedBeside() {
    return { ...(await played()), other: new Sqlite(`${harness.dir}/recordings.db`) }
  }

  test('takes a lead away: its telecaller hears 403 at once, by every door', async () => {
    const { lead, begins, play, other } = await playedBeside()
    expect(await begins()).toBe(201)
    other.prepare('update leads set telecaller_id = ? where id = ?').run('another', lead.leadId)
    expect([await begins(), await play()]).toEqual([403, 403])
    other.prepare('update leads set telecaller_id = ? where id = ?').run('telecaller-a', lead.leadId)
    expect([await begins(), await play()]).toEqual([201, 200])
    other.close()
  })

  test('moves a call to another lead: it is not found at once', async () => {
    const { lead, begins, other } = await playedBeside()
    other
      .prepare(
        "insert into leads select 'elsewhere', telecaller_id, name, created_at_ms, updated_at_ms from leads limit 1",
      )
      .run()
    other.prepare("update call_logs set lead_id = 'elsewhere' where id = ?").run(lead.callLogId)
    expect(await begins()).toBe(404)
    other.close()
  })

  test('deletes a recording: it is not found at once', async () => {
    const { play, other } = await playedBeside()
    other.prepare('delete from recordings').run()
    expect(await play()).toBe(404)
    other.close()
  })
})

test.for([
  ['update "leads" set "name" = ? where "leads"."id" = ? returning "id"', ['leads']],
  ['delete from "recordings" where "recordings"."id" = ?', ['recordings']],
  ['insert into "leads" ("id") values (?) on conflict do nothing', []],
  ['insert into "chunks" ("id") values (?) on conflict ("id") do update set "size" = ?', ['chunks']],
  ['insert into "recordings" ("id") select "id" from "uploads"', []],
] as const)('%s changes rows of %s', ([sql, tables]) => {
  expect(changedBy(sql)).toEqual(tables)
})
