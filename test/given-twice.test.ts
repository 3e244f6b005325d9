/** Of a parameter that is given twice it can't be told what is meant: it is refused and named, wherever it stands. */
import { describe, expect, test } from 'vitest'
import { legacyClient } from './support/legacy.ts'
import { jsonOf, startService } from './support/service.ts'

const harness = await startService()
const lead = await harness.lead()
const legacy = legacyClient(harness)
const uploadId = await legacy.begin(lead)
const authorization = `Bearer ${harness.tokens.telecaller}`

const ids = [
  ['action', 'append'],
  ['upload_id', uploadId],
  ['chunk_index', '0'],
] as const

/** A file stands for the field `file`. */
function multipart(pairs: readonly (readonly [string, string])[]): FormData {
  const form = new FormData()
  for (const [name, value] of pairs) {
    if (name === 'file') form.append(name, new Blob([value]), 'call.wav')
    else form.append(name, value)
  }
  return form
}
const urlencoded = (pairs: readonly (readonly [string, string])[]) =>
  new URLSearchParams(pairs.map(([name, value]): [string, string] => [name, value]))

const post = (body: FormData | URLSearchParams) =>
  fetch(lead.recordings, { method: 'POST', headers: { authorization }, body })

async function expectNamed(res: Response, name: string) {
  expect(res.status).toBe(400)
  const sentence = `The parameter ${name} is given more than once.`
  expect(await jsonOf(res)).toMatchObject({ code: 'invalid_parameter', detail: sentence })
}

describe.for([
  ['multipart', multipart],
  ['urlencoded', urlencoded],
] as const)('a parameter that an action is given twice, %s', ([, form]) => {
  test.for([
    ['action', [...ids, ['chunk', 'MDEy'], ['action', 'append']]],
    ['upload_id', [['upload_id', 'other'], ...ids, ['chunk', 'MDEy']]],
    ['chunk_index', [...ids, ['chunk', 'MDEy'], ['chunk_index', '0']]],
    ['chunk', [...ids, ['chunk', 'MDEy'], ['chunk', 'MDEy']]],
    ['call_log_id', [['call_log_id', ''], ['call_log_id', 'a'], ...ids, ['chunk', 'MDEy']]],
  ] as const)('is refused and named: %s', async ([name, pairs]) => {
    await expectNamed(await post(form(pairs)), name)
    expect(await harness.files('uploads')).toEqual([])
  })

  test('is passed over where the action knows no such parameter', async () => {
    const id = await legacy.begin(lead)
    const pairs = [
      ['tag', 'a'],
      ['tag', 'b'],
      ['__proto__', 'a'],
      ['__proto__', 'b'],
      ['toString', 'a'],
      ['toString', 'b'],
      ['action', 'append'],
      ['upload_id', id],
      ['chunk_index', '0'],
      ['chunk', 'MDEy'],
    ] as const
    expect((await post(form(pairs))).status).toBe(202)
    expect((await legacy.cancel(lead, id)).status).toBe(200)
  })
})

test.for([
  ['ahead of the file', ['call_log_id', 'call_log_id', 'file']],
  ['around the file', ['call_log_id', 'file', 'call_log_id']],
  ['behind the file', ['file', 'call_log_id', 'call_log_id']],
] as const)('a form that names its call twice is refused and leaves nothing: %s', async ([, names]) => {
  await expectNamed(await post(multipart(names.map((name) => [name, lead.callLogId]))), 'call_log_id')
  expect(await harness.files('uploads')).toEqual([])
  expect((await jsonOf(await harness.api('GET', lead.recordings))).recordings).toEqual([])
})

test('a member that JSON has twice counts as it stands last (RFC 8259 §4)', async () => {
  const body = `{"action":"destroy","filename":"a.wav","call_log_id":"${lead.callLogId}","action":"init"}`
  expect((await harness.api('POST', lead.recordings, { body })).status).toBe(201)
})
