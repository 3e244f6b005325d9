import { describe, expect, test } from 'vitest'
import { jsonOf, startService } from './support/service.ts'

const harness = await startService()
const { crm } = harness.tokens
const put = (path: string, body: unknown, token = crm) => harness.api('PUT', `/api${path}`, { token, body })

describe('a lead', () => {
  test('is created, then updated; what is left out stays, null clears', async () => {
    const created = await put('/leads/asha', { telecaller_id: 'ravi', name: 'Asha' })
    expect(created.status).toBe(201)
    expect(await jsonOf(created)).toMatchObject({ id: 'asha', telecaller_id: 'ravi', name: 'Asha' })
    const moved = await put('/leads/asha', { telecaller_id: 'meera' })
    expect(moved.status).toBe(200)
    expect(await jsonOf(moved)).toMatchObject({ telecaller_id: 'meera', name: 'Asha' })
    expect(await jsonOf(await put('/leads/asha', { telecaller_id: 'meera', name: null }))).toMatchObject({ name: null })
  })

  test('is written by the CRM alone', async () => {
    expect((await put('/leads/x', { telecaller_id: 'ravi' }, harness.tokens.telecaller)).status).toBe(403)
    expect((await put('/leads/x', { telecaller_id: 'ravi' }, harness.tokens.supervisor)).status).toBe(403)
  })

  test.for([
    ['no telecaller', '/leads/x', '{}', 400, 'missing_parameter'],
    ['an id of other characters', '/leads/x.y', '{"telecaller_id":"ravi"}', 400, 'invalid_parameter'],
    ['a telecaller with a control character', '/leads/x', '{"telecaller_id":"r\\u0000v"}', 400, 'invalid_parameter'],
    ['half a character for a telecaller', '/leads/x', '{"telecaller_id":"\\ud800"}', 400, 'invalid_parameter'],
    ['an empty telecaller', '/leads/x', '{"telecaller_id":""}', 400, 'invalid_parameter'],
    ['what is no JSON', '/leads/x', '{', 400, 'invalid_request'],
    ['what is no object', '/leads/x', '[]', 400, 'invalid_request'],
  ] as const)('with %s is refused', async ([, path, body, status, code]) => {
    const res = await put(path, body)
    expect(res.status).toBe(status)
    expect(res.headers.get('content-type')).toMatch(/^application\/problem\+json/)
    const problem = await jsonOf(res)
    expect(problem).toMatchObject({ status, code })
    expect(problem.error).toBe(problem.detail)
  })

  test('in another type than JSON is 415; without a body, what is missing is named', async () => {
    const headers = { 'content-type': 'text/plain' }
    expect((await harness.api('PUT', '/api/leads/x', { token: crm, headers, body: 'x' })).status).toBe(415)
    const empty = await harness.api('PUT', '/api/leads/x', { token: crm })
    expect(empty.status).toBe(400)
    expect((await jsonOf(empty)).detail).toContain('telecaller_id')
  })
})

describe('a call log', () => {
  test('is created, then updated, for a lead that there is', async () => {
    await put('/leads/bala', { telecaller_id: 'ravi' })
    const started = '2026-11-22T08:00:00.000Z'
    const created = await put('/leads/bala/call-logs/monday', { started_at: started, duration_seconds: 61.5 })
    expect(created.status).toBe(201)
    const updated = await put('/leads/bala/call-logs/monday', { direction: 'outbound' })
    expect(updated.status).toBe(200)
    expect(await jsonOf(updated)).toMatchObject({
      id: 'monday',
      lead_id: 'bala',
      started_at: started,
      duration_seconds: 61.5,
      direction: 'outbound',
    })
    expect((await put('/leads/nobody/call-logs/monday', {})).status).toBe(404)
  })

  test('never moves to another lead', async () => {
    await put('/leads/one', { telecaller_id: 'ravi' })
    await put('/leads/two', { telecaller_id: 'ravi' })
    expect((await put('/leads/one/call-logs/only', {})).status).toBe(201)
    expect((await put('/leads/two/call-logs/only', {})).status).toBe(409)
  })

  test.for([{ started_at: 'yesterday' }, { duration_seconds: -1 }, { direction: 'sideways' }])(
    'with %j is refused',
    async (body) => {
      await put('/leads/carol', { telecaller_id: 'ravi' })
      expect((await put('/leads/carol/call-logs/c', body)).status).toBe(400)
    },
  )
})

describe('what comes at once', () => {
  const ROUNDS = 30
  const statuses = (answers: Response[]) => answers.map(({ status }) => status).sort()

  test('one new call log put under two leads belongs to one of them: 201 with its own row there, 409 for the other', async () => {
    await put('/leads/left', { telecaller_id: 'ravi' })
    await put('/leads/right', { telecaller_id: 'ravi' })
    for (let i = 0; i < ROUNDS; i++) {
      const answers = await Promise.all(['left', 'right'].map((lead) => put(`/leads/${lead}/call-logs/both-${i}`, {})))
      expect(statuses(answers)).toEqual([201, 409])
      const winner = answers.findIndex(({ status }) => status === 201)
      expect((await jsonOf(answers[winner] as Response)).lead_id).toBe(['left', 'right'][winner])
    }
  })

  test.for([
    ['a lead', (i: number) => `/leads/twice-${i}`, { telecaller_id: 'ravi' }],
    ['a call log', (i: number) => `/leads/left/call-logs/twice-${i}`, {}],
  ] as const)('%s that is new is created once: 201, then 200', async ([, path, body]) => {
    for (let i = 0; i < ROUNDS; i++) {
      const answers = await Promise.all([put(path(i), body), put(path(i), body), put(path(i), body)])
      expect(statuses(answers)).toEqual([200, 200, 201])
    }
  })

  test('a lead put under two telecallers tells each what it wrote itself', async () => {
    for (let i = 0; i < ROUNDS; i++) {
      const names = ['ravi', 'meera', 'leela']
      const answers = await Promise.all(names.map((telecaller_id) => put(`/leads/three-${i}`, { telecaller_id })))
      expect(await Promise.all(answers.map(async (each) => (await jsonOf(each)).telecaller_id))).toEqual(names)
    }
  })
})
