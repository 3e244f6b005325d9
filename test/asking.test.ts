/** Questions across leads: who may ask what, what the filters leave, and pages that neither skip nor repeat. */
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { recordingsWalk } from '../src/db/recordings-asked.ts'
import { callLogs, leads, recordings } from '../src/db/schema.ts'
import { type Place, pageOf } from '../src/db/walk.ts'
import { legacyClient } from './support/legacy.ts'
import { record } from './support/recordings.ts'
import { jsonOf, startService, tokenFor } from './support/service.ts'
import { asStatement } from './support/tables.ts'

const harness = await startService()
const { tokens } = harness
const DAY_MS = 86_400_000
const AT_MS = Date.UTC(2026, 0, 10)

interface Asked {
  id: string
  leadId: string
  callLogId: string
  telecallerId: string
  owner: string
  leadName: string | null
  filename: string
  size: number
  sha256: string
  durationSeconds: number | null
  createdAtMs: number
  startedAtMs: number | null
  direction: 'inbound' | 'outbound' | null
}

const LEADS = [
  { id: 'asha', telecallerId: 'telecaller-a', name: 'Asha Rao' },
  { id: 'bala', telecallerId: 'telecaller-a', name: 'आशा 100%' },
  { id: 'carol', telecallerId: 'telecaller-b', name: null },
]
const DIRECTIONS = ['inbound', 'outbound', null] as const
const SHAS = ['a', 'b', 'c'].map((letter) => letter.repeat(64))

/** Forty recordings that differ in all that can be asked; of each four calls one has none. */
const ALL: Asked[] = Array.from({ length: 40 }, (_, i) => {
  const lead = LEADS[i % 3] as (typeof LEADS)[number]
  return {
    id: `r-${String((i * 7) % 40).padStart(2, '0')}`,
    leadId: lead.id,
    callLogId: `talk-${i - (i % 4 === 3 ? 3 : 0)}`,
    telecallerId: i % 5 === 0 ? 'telecaller-x' : lead.telecallerId,
    owner: lead.telecallerId,
    leadName: lead.name,
    filename: i % 2 ? `Call_${i}.wav` : `call ${i}%.WAV`,
    size: 1 + (i % 7),
    sha256: SHAS[i % 3] as string,
    durationSeconds: i % 6 === 0 ? null : (i % 9) + 0.5,
    createdAtMs: AT_MS + Math.floor(i / 3) * (DAY_MS / 4),
    startedAtMs: null,
    direction: null,
  }
})
const calls = ALL.map(({ leadId }, i) => ({
  id: `talk-${i}`,
  leadId,
  startedAtMs: i % 4 === 2 ? null : AT_MS + i * (DAY_MS / 8),
  durationSeconds: null,
  direction: DIRECTIONS[i % 3] ?? null,
  createdAtMs: AT_MS + i,
  updatedAtMs: AT_MS,
}))
for (const each of ALL) {
  // A call is one lead's.
  const call = calls.find(({ id, leadId }) => id === each.callLogId && leadId === each.leadId)
  if (!call) each.callLogId = `talk-${ALL.indexOf(each)}`
  const { startedAtMs = null, direction = null } = calls.find(({ id }) => id === each.callLogId) ?? {}
  Object.assign(each, { startedAtMs, direction })
}

const rowOf = ({ id, leadId, callLogId, telecallerId, filename, size, sha256, ...more }: Asked) => ({
  ...{ id, uploadId: id, leadId, callLogId, telecallerId, filename, path: `${leadId}/${id}.wav`, size, sha256 },
  ...{ contentType: 'audio/wav', mediaCheck: 'ok' as const },
  ...{ durationSeconds: more.durationSeconds, createdAtMs: more.createdAtMs },
})

beforeAll(async () => {
  const rows = LEADS.map((lead, i) => ({ ...lead, createdAtMs: AT_MS + i, updatedAtMs: AT_MS + 10 - i }))
  await harness.service.db.write(
    asStatement((orm) => orm.insert(leads).values(rows)),
    asStatement((orm) => orm.insert(callLogs).values(calls)),
    asStatement((orm) => orm.insert(recordings).values(ALL.map(rowOf))),
  )
})

type Page = { next_cursor: string | null } & Record<string, { id: string }[]>

/** All pages of a list, one after the other. @param between what is done between two of them */
async function pagesOf(path: string, what: string, token = tokens.crm, between = async () => {}) {
  const pages: string[][] = []
  for (let cursor = ''; ; ) {
    const res = await harness.api('GET', `${path}${path.includes('?') ? '&' : '?'}${cursor}`, { token })
    expect(res.status).toBe(200)
    const page = (await jsonOf(res)) as Page
    pages.push((page[what] as { id: string }[]).map(({ id }) => id))
    if (page.next_cursor === null) return pages
    cursor = `cursor=${encodeURIComponent(page.next_cursor)}`
    await between()
  }
}

/** The filters, each with what it means. */
const FILTERS: Record<string, [fc.Arbitrary<string>, (each: Asked, value: string) => boolean]> = {
  since: [times(), (each, value) => each.createdAtMs >= Date.parse(value)],
  until: [times(), (each, value) => each.createdAtMs < Date.parse(value)],
  call_since: [times(), (each, value) => each.startedAtMs !== null && each.startedAtMs >= Date.parse(value)],
  call_until: [times(), (each, value) => each.startedAtMs !== null && each.startedAtMs < Date.parse(value)],
  telecaller_id: [
    fc.constantFrom('telecaller-a', 'telecaller-x', 'none'),
    (each, value) => each.telecallerId === value,
  ],
  lead_id: [fc.constantFrom('asha', 'bala', 'none'), (each, value) => each.leadId === value],
  call_log_id: [fc.constantFrom('talk-0', 'talk-4', 'none'), (each, value) => each.callLogId === value],
  direction: [fc.constantFrom('inbound', 'outbound'), (each, value) => each.direction === value],
  sha256: [
    fc.constantFrom(...SHAS, SHAS[0]?.toUpperCase() ?? ''),
    (each, value) => each.sha256 === value.toLowerCase(),
  ],
  min_seconds: [seconds(), (each, value) => each.durationSeconds !== null && each.durationSeconds >= Number(value)],
  max_seconds: [seconds(), (each, value) => each.durationSeconds !== null && each.durationSeconds <= Number(value)],
  q: [
    fc.constantFrom('CALL', '%', '_', 'asha', 'आशा', '1', '\\'),
    (each, value) =>
      [each.filename, each.leadName ?? ''].some((text) => text.toLowerCase().includes(value.toLowerCase())),
  ],
}

function times() {
  return fc.integer({ min: 0, max: 20 }).map((n) => new Date(AT_MS + n * (DAY_MS / 6)).toISOString())
}
function seconds() {
  return fc.constantFrom('0', '2.5', '5', '8.5')
}

const SORTS: Record<string, (each: Asked) => number> = {
  newest: ({ createdAtMs }) => -createdAtMs,
  oldest: ({ createdAtMs }) => createdAtMs,
  longest: ({ durationSeconds }) => -(durationSeconds ?? -1),
  largest: ({ size }) => -size,
}

function expected(filters: Record<string, string | undefined>, sort: string, owner: string | undefined): string[] {
  const key = SORTS[sort] as (each: Asked) => number
  const byId = sort === 'oldest' ? 1 : -1
  return ALL.filter((each) => owner === undefined || each.owner === owner)
    .filter((each) =>
      Object.entries(filters).every(([name, value]) => value === undefined || FILTERS[name]?.[1](each, value)),
    )
    .sort((a, b) => key(a) - key(b) || (a.id < b.id ? -byId : byId))
    .map(({ id }) => id)
}

describe('recordings across leads', () => {
  const anyFilters = fc.record(Object.fromEntries(Object.entries(FILTERS).map(([name, [values]]) => [name, values])), {
    requiredKeys: [],
  })

  test('are those that the filters leave, in the order that is asked for, on pages of any length', async () => {
    const anyOrder = fc.constantFrom(...Object.keys(SORTS))
    const anyCaller = fc.constantFrom('crm', 'supervisor', 'telecaller', 'other')
    await fc.assert(
      fc.asyncProperty(
        anyFilters,
        anyOrder,
        fc.integer({ min: 1, max: 50 }),
        anyCaller,
        async (filters, sort, limit, who) => {
          const query = new URLSearchParams({ ...(filters as Record<string, string>), sort, limit: String(limit) })
          const pages = await pagesOf(`/api/recordings?${query}`, 'recordings', tokens[who as keyof typeof tokens])
          const owners: Record<string, string> = { telecaller: 'telecaller-a', other: 'telecaller-b' }
          const owner = owners[who]
          expect(pages.flat()).toEqual(expected(filters as Record<string, string>, sort, owner))
          expect(pages.slice(0, -1).filter(({ length }) => length !== limit)).toEqual([])
        },
      ),
      { numRuns: 60 },
    )
  })

  test('go on where they were when others come in between', async () => {
    let more = 0
    const added: Asked[] = []
    const between = async () => {
      more += 1
      const each = { ...(ALL[0] as Asked), id: `new-${more}`, createdAtMs: AT_MS + 20 * DAY_MS + more }
      added.push(each)
      await harness.service.db.write(asStatement((orm) => orm.insert(recordings).values(rowOf(each))))
    }
    const all = expected({}, 'newest', undefined)
    expect((await pagesOf('/api/recordings?limit=7', 'recordings', tokens.crm, between)).flat()).toEqual(all)
    const oldest = (await pagesOf('/api/recordings?limit=7&sort=oldest', 'recordings', tokens.crm)).flat()
    expect(oldest).toEqual([...expected({}, 'oldest', undefined), ...added.map(({ id }) => id)])
    for (const { id } of added) {
      const { status } = await harness.api('DELETE', `/api/leads/asha/recordings/${id}`, { token: tokens.crm })
      expect(status).toBe(204)
    }
  })

  test('are each given once, in order, however few are looked at for a page', async () => {
    const db = harness.service.db
    const anyAsked = fc.record({
      text: fc.constantFrom('1', 'wav', 'none'),
      ownerId: fc.constantFrom(undefined, 'telecaller-a'),
      sort: fc.constantFrom('newest' as const, 'oldest' as const),
      limit: fc.integer({ min: 1, max: 9 }),
      step: fc.integer({ min: 1, max: 9 }),
    })
    await fc.assert(
      fc.asyncProperty(anyAsked, async ({ text, ownerId, sort, limit, step }) => {
        const walk = recordingsWalk({ text, ownerId }, sort)
        const found: string[] = []
        for (let after: Place | undefined; ; ) {
          const page = await pageOf(db, walk, { after, limit }, { step, most: 2 * step })
          expect(page.rows.length).toBeLessThanOrEqual(limit)
          found.push(...page.rows.map(({ id }) => id))
          if (!page.next) break
          after = page.next
        }
        expect(found).toEqual(expected({ q: text }, sort, ownerId))
      }),
      { numRuns: 40 },
    )
  })

  test('name what is wrong with a question', async () => {
    for (const [query, name] of [
      ['since=yesterday', 'since'],
      ['min_seconds=-1', 'min_seconds'],
      ['sha256=abc', 'sha256'],
      ['sort=loudest', 'sort'],
      ['deleted=true', 'deleted'],
      ['q=', 'q'],
      ['limit=201', 'limit'],
      [`cursor=${Buffer.from('1.5 a').toString('base64url')}`, 'cursor'],
      [`sort=oldest&cursor=${Buffer.from('1 a').toString('base64url')}`, 'cursor'],
    ] as const) {
      const res = await harness.api('GET', `/api/recordings?${query}`)
      expect([query, res.status]).toEqual([query, 400])
      expect((await jsonOf(res)).error).toContain(name)
    }
  })

  test('and each alone tell of their call and their lead’s name, through every door', async () => {
    const lead = await harness.lead()
    await harness.api('PUT', `/api/leads/${lead.leadId}`, {
      token: tokens.crm,
      body: { telecaller_id: 'telecaller-a', name: 'Dev' },
    })
    const call = { started_at: '2026-01-01T00:00:00.000Z', duration_seconds: 61.5, direction: 'outbound' }
    await harness.api('PUT', `/api/leads/${lead.leadId}/call-logs/${lead.callLogId}`, { token: tokens.crm, body: call })
    const shown = { call, lead_name: 'Dev' }
    const recording = await record(harness, '0123456789', { lead })
    expect(await jsonOf(await harness.api('GET', `${recording.url}/details`))).toMatchObject(shown)
    const list = (await jsonOf(await harness.api('GET', lead.recordings))) as unknown as Page
    expect(list.recordings?.[0]).toMatchObject(shown)
    const legacy = legacyClient(harness)
    const uploadId = await legacy.begin(lead)
    await legacy.append(lead, uploadId, 0, Buffer.from('0123').toString('base64'))
    expect(await jsonOf(await legacy.finalize(lead, uploadId, 1))).toMatchObject(shown)
    const form = new FormData()
    form.append('file', new Blob(['0123']), 'call.wav')
    form.append('call_log_id', lead.callLogId)
    const headers = { authorization: `Bearer ${tokens.telecaller}` }
    const stored = await fetch(lead.recordings, { method: 'POST', headers, body: form })
    expect(await jsonOf(stored)).toMatchObject(shown)
    const counted = await jsonOf(await harness.api('GET', `/api/leads/${lead.leadId}`))
    expect(counted).toMatchObject({ id: lead.leadId, name: 'Dev', telecaller_id: 'telecaller-a', recordings: 3 })
    for (const each of (await pagesOf(lead.recordings, 'recordings')).flat()) {
      await harness.api('DELETE', `${lead.recordings}/${each}`)
    }
    expect(await jsonOf(await harness.api('GET', `/api/leads/${lead.leadId}`))).toMatchObject({
      recordings: 0,
      last_recording_at: null,
    })
  })
})

describe('leads', () => {
  const listed = async (query: string, token = tokens.crm) => {
    const all = (await pagesOf(`/api/leads?${query}`, 'leads', token)).flat()
    return all.filter((id) => LEADS.some((lead) => lead.id === id))
  }

  test('are listed newest first, of a telecaller their own, by name, and by their changes', async () => {
    expect(await listed('limit=1')).toEqual(['carol', 'bala', 'asha'])
    expect(await listed('', tokens.telecaller)).toEqual(['bala', 'asha'])
    expect(await listed('telecaller_id=telecaller-b')).toEqual(['carol'])
    expect(await listed('telecaller_id=telecaller-b', tokens.telecaller)).toEqual([])
    expect(await listed('q=RAO')).toEqual(['asha'])
    expect(await listed(`q=${encodeURIComponent('आशा')}&limit=1`)).toEqual(['bala'])
    expect(await listed(`q=${encodeURIComponent('0%')}`)).toEqual(['bala'])
    const since = new Date(AT_MS + 9).toISOString()
    expect(await listed(`updated_since=${since}&limit=1`)).toEqual(['bala', 'asha'])
    expect(await listed(`updated_since=${since}&telecaller_id=telecaller-b`)).toEqual([])
  })

  test('tell how many recordings they have, and when the last one came', async () => {
    const theirs = ALL.filter(({ leadId }) => leadId === 'asha')
    expect(await jsonOf(await harness.api('GET', '/api/leads/asha'))).toEqual({
      id: 'asha',
      telecaller_id: 'telecaller-a',
      name: 'Asha Rao',
      created_at: new Date(AT_MS).toISOString(),
      updated_at: new Date(AT_MS + 10).toISOString(),
      recordings: theirs.length,
      last_recording_at: new Date(Math.max(...theirs.map(({ createdAtMs }) => createdAtMs))).toISOString(),
    })
  })
})

describe('calls with a lead', () => {
  const timeOf = (call: (typeof calls)[number]) => call.startedAtMs ?? call.createdAtMs
  const recordingsOf = (id: string) => ALL.filter(({ callLogId }) => callLogId === id)

  test('are listed newest first, with and without a recording, and of a period', async () => {
    const since = AT_MS + DAY_MS / 2
    const cases: [string, (call: (typeof calls)[number]) => boolean][] = [
      ['', () => true],
      ['&has_recording=true', ({ id }) => recordingsOf(id).length > 0],
      ['&has_recording=false', ({ id }) => recordingsOf(id).length === 0],
      [`&since=${new Date(since).toISOString()}`, (call) => timeOf(call) >= since],
      [
        `&until=${new Date(since).toISOString()}&has_recording=true`,
        (call) => timeOf(call) < since && recordingsOf(call.id).length > 0,
      ],
    ]
    for (const lead of ['asha', 'bala']) {
      for (const [query, isMeant] of cases) {
        const meant = calls.filter((call) => call.leadId === lead && isMeant(call))
        meant.sort((a, b) => timeOf(b) - timeOf(a) || (a.id < b.id ? 1 : -1))
        const pages = await pagesOf(`/api/leads/${lead}/call-logs?limit=3${query}`, 'call_logs')
        expect([query, pages.flat()]).toEqual([query, meant.map(({ id }) => id)])
      }
    }
  })

  test('tell the ids of their recordings', async () => {
    const [call] = calls.filter(({ id }) => recordingsOf(id).length > 0)
    const ids = recordingsOf(call?.id ?? '').map(({ id }) => id)
    const res = await harness.api('GET', `/api/leads/${call?.leadId}/call-logs/${call?.id}`)
    expect(await jsonOf(res)).toMatchObject({ id: call?.id, lead_id: call?.leadId, recordings: ids })
    expect((await harness.api('GET', '/api/leads/bala/call-logs/talk-0')).status).toBe(404)
  })
})

describe('figures', () => {
  test.for(['telecaller', 'day', 'lead'] as const)('of a period by %s are the sums of what there is', async (by) => {
    const [sinceMs, untilMs] = [AT_MS + DAY_MS / 2, AT_MS + 3 * DAY_MS]
    const isIn = (ms: number) => ms >= sinceMs && ms < untilMs
    const dayOf = (ms: number) => new Date(ms).toISOString().slice(0, 10)
    for (const [token, owner] of [
      [tokens.supervisor, undefined],
      [tokens.telecaller, 'telecaller-a'],
    ] as const) {
      const sums = new Map<string, Record<string, unknown>>()
      const add = (key: string, figures: Record<string, number>) => {
        const none: Record<string, unknown> = {
          key,
          recordings: 0,
          seconds: 0,
          bytes: 0,
          calls: 0,
          calls_without_recording: 0,
        }
        const group = sums.get(key) ?? none
        for (const [name, value] of Object.entries(figures)) group[name] = Number(group[name]) + value
        sums.set(key, group)
      }
      for (const each of ALL.filter((one) => isIn(one.createdAtMs) && (owner ?? one.owner) === one.owner)) {
        const key = { telecaller: each.telecallerId, day: dayOf(each.createdAtMs), lead: each.leadId }[by]
        add(key, { recordings: 1, seconds: each.durationSeconds ?? 0, bytes: each.size })
      }
      for (const call of calls) {
        const lead = LEADS.find(({ id }) => id === call.leadId) as (typeof LEADS)[number]
        const atMs = call.startedAtMs ?? call.createdAtMs
        if (!isIn(atMs) || (owner ?? lead.telecallerId) !== lead.telecallerId) continue
        const key = { telecaller: lead.telecallerId, day: dayOf(atMs), lead: lead.id }[by]
        const without = ALL.every(({ callLogId }) => callLogId !== call.id)
        add(key, { calls: 1, calls_without_recording: without ? 1 : 0 })
      }
      const query = `since=${new Date(sinceMs).toISOString()}&until=${new Date(untilMs).toISOString()}&group_by=${by}`
      const { groups } = await jsonOf(await harness.api('GET', `/api/statistics?${query}`, { token }))
      expect(groups).toEqual([...sums.values()].sort((a, b) => (String(a.key) < String(b.key) ? -1 : 1)))
    }
  })
})

describe('rights', () => {
  const ROUTES: [path: string, other: number, supervisor: number][] = [
    ['/api/me', 200, 200],
    ['/api/leads', 200, 200],
    ['/api/recordings', 200, 200],
    ['/api/statistics', 200, 200],
    ['/api/leads/asha', 403, 200],
    ['/api/leads/asha/call-logs', 403, 200],
    ['/api/leads/asha/call-logs/talk-0', 403, 200],
    ['/api/leads/nobody', 404, 404],
    ['/api/leads/nobody/call-logs', 404, 404],
    ['/api/leads/nobody/call-logs/talk-0', 404, 404],
    ['/api/leads/asha/call-logs/none', 403, 404],
  ]

  test.for(ROUTES)(
    '%s: another telecaller %i, supervisor and service %i, without a token 401',
    async ([path, other, all]) => {
      const statusOf = async (token: string | null) => (await harness.api('GET', path, { token })).status
      const statuses = await Promise.all([tokens.other, tokens.supervisor, tokens.crm, null].map(statusOf))
      expect(statuses).toEqual([other, all, all, 401])
    },
  )

  test('who a token is of is told, with its name', async () => {
    const token = await tokenFor({ sub: 'auth0|5f7c', role: 'supervisor', name: 'Meera' })
    expect(await jsonOf(await harness.api('GET', '/api/me', { token }))).toEqual({
      id: 'auth0|5f7c',
      role: 'supervisor',
      name: 'Meera',
    })
    expect(await jsonOf(await harness.api('GET', '/api/me'))).toEqual({
      id: 'telecaller-a',
      role: 'telecaller',
      name: null,
    })
  })
})
