/**
 * The list of a lead's recordings: newest first, in pages that neither skip nor repeat.
 */
import { describe, expect, test } from 'vitest'
import { recordings } from '../src/db/schema.ts'
import { jsonOf, startService, type TestLead } from './support/service.ts'
import { asStatement } from './support/tables.ts'

const service = await startService()

/** As finished uploads leave them, without their files. @param createdAtMs of each */
async function recorded({ leadId, callLogId }: TestLead, createdAtMs: readonly number[]): Promise<void> {
  const rows = createdAtMs.map((atMs) => {
    const id = crypto.randomUUID()
    return {
      id,
      uploadId: id,
      leadId,
      callLogId,
      telecallerId: 'telecaller-a',
      filename: 'call.wav',
      path: `${leadId}/${id}.wav`,
      contentType: 'audio/wav',
      size: 1,
      sha256: '00',
      mediaCheck: 'ok' as const,
      createdAtMs: atMs,
    }
  })
  await service.service.db.write(asStatement((orm) => orm.insert(recordings).values(rows)))
}

interface Listed {
  id: string
  created_at: string
  call_log_id: string
}
type Page = { recordings: Listed[]; next_cursor: string | null }

const page = async (lead: TestLead, query: string) =>
  (await jsonOf(await service.api('GET', `${lead.recordings}?${query}`))) as unknown as Page

async function allPages(lead: TestLead, query: string): Promise<Listed[][]> {
  const pages: Listed[][] = []
  for (let cursor = ''; ; ) {
    const { recordings: listed, next_cursor } = await page(lead, query + cursor)
    pages.push(listed)
    if (next_cursor === null) return pages
    cursor = `&cursor=${next_cursor}`
  }
}

describe('pages', () => {
  test('give every recording once, newest first, also where many were made in the same millisecond', async () => {
    const lead = await service.lead()
    await recorded(lead, [5, 3, 3, 3, 3, 3, 1, 4, 4, 2])
    await recorded(await service.lead(), [3, 4])
    for (const limit of [1, 2, 3, 4, 9, 10, 11]) {
      const pages = await allPages(lead, `limit=${limit}`)
      const listed = pages.flat()
      expect(pages.map(({ length }) => length)).toEqual(
        Array.from({ length: Math.ceil(10 / limit) }, (_, i) => Math.min(limit, 10 - i * limit)),
      )
      expect(listed.map(({ created_at }) => Date.parse(created_at))).toEqual([5, 4, 4, 3, 3, 3, 3, 3, 2, 1])
      expect(new Set(listed.map(({ id }) => id)).size).toBe(10)
    }
  })

  test('go on where they were when newer recordings come in between', async () => {
    const lead = await service.lead()
    await recorded(lead, [1, 2, 3])
    const first = await page(lead, 'limit=2')
    await recorded(lead, [4])
    const second = await page(lead, `limit=2&cursor=${first.next_cursor}`)
    expect(second.recordings.map(({ created_at }) => Date.parse(created_at))).toEqual([1])
    expect(second.next_cursor).toBeNull()
  })

  test('can be those of one call', async () => {
    const lead = await service.lead()
    const other = { ...lead, callLogId: `${lead.callLogId}-2` }
    const written = await service.api('PUT', `/api/leads/${lead.leadId}/call-logs/${other.callLogId}`, {
      token: service.tokens.crm,
      body: {},
    })
    expect(written.status).toBe(201)
    await recorded(lead, [1, 3, 5])
    await recorded(other, [2, 4])
    const listed = (await allPages(lead, `limit=1&call_log_id=${other.callLogId}`)).flat()
    expect(listed.map(({ created_at }) => Date.parse(created_at))).toEqual([4, 2])
    expect((await page(lead, 'call_log_id=unknown')).recordings).toEqual([])
  })

  test.for([
    ['limit=0', 'limit'],
    ['limit=201', 'limit'],
    ['limit=x', 'limit'],
    ['cursor=x', 'cursor'],
    ['call_log_id=a%20b', 'call_log_id'],
  ])('%s is refused', async ([query, name]) => {
    const lead = await service.lead()
    const res = await service.api('GET', `${lead.recordings}?${query}`)
    expect(res.status).toBe(400)
    expect((await jsonOf(res)).detail).toContain(name)
  })
})
