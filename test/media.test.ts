/** What a recording's JSON tells of its bytes, over HTTP. */
import { describe, expect, test } from 'vitest'
import { recordings } from '../src/db/schema.ts'
import { fixtureBytes } from './support/fixtures.ts'
import { liveWebm } from './support/media-files.ts'
import { record } from './support/recordings.ts'
import { jsonOf, startService } from './support/service.ts'
import { asStatement } from './support/tables.ts'

const service = await startService()

async function told(filename: string, bytes: Uint8Array | string) {
  const { url } = await record(service, bytes, { filename })
  const played = await service.api('HEAD', url)
  expect(played.status).toBe(200)
  return { ...(await jsonOf(await service.api('GET', `${url}/details`))), played: played.headers.get('content-type') }
}

describe('the extensions that phones, recorders and converters write', () => {
  test.for([
    ['3ga', 'audio/3gpp'],
    ['3gpp', 'audio/3gpp'],
    ['awb', 'audio/amr-wb'],
    ['mp4', 'audio/mp4'],
    ['weba', 'audio/webm'],
    ['mka', 'audio/matroska'],
    ['caf', 'audio/x-caf'],
    ['aiff', 'audio/aiff'],
    ['aif', 'audio/aiff'],
    ['au', 'audio/basic'],
    ['wma', 'audio/x-ms-wma'],
    ['mp2', 'audio/mpeg'],
    ['opus', 'audio/ogg'],
  ] as const)('.%s is taken, and stands for %s where the bytes say nothing', async ([extension, contentType]) => {
    expect(await told(`Call.${extension}`, 'no sound of any kind')).toMatchObject({
      filename: `Call.${extension}`,
      content_type: contentType,
      played: contentType,
      duration_seconds: null,
      media_check: 'unrecognised',
      plays_in_browsers: false,
    })
  })
})

test.for([
  ['tone.m4a', 'audio/mp4', true],
  ['tone.amr', 'audio/amr', false],
  ['tone.3gp', 'audio/3gpp', true],
  ['tone-amr.3gp', 'audio/3gpp', false],
] as const)('%s is %s; plays in browsers: %s, by its codec', async ([name, contentType, plays]) => {
  expect(await told(name, fixtureBytes(name))).toMatchObject({
    content_type: contentType,
    duration_seconds: expect.closeTo(2.4, 0.9),
    media_check: 'ok',
    plays_in_browsers: plays,
  })
})

test('what has no sound track is kept, unrecognised', async () => {
  const bytes = liveWebm(2, 17)
  expect(await told('call.webm', bytes)).toMatchObject({
    size: bytes.length,
    content_type: 'audio/webm',
    media_check: 'unrecognised',
    plays_in_browsers: false,
  })
})

test.for([
  ['audio/mpeg', 'ok', true],
  ['audio/wav', 'ok', true],
  ['video/mp4', 'ok', true],
  ['audio/amr', 'ok', false],
  ['audio/x-caf', 'ok', false],
  ['audio/wav', 'unrecognised', false],
  ['application/octet-stream', 'unrecognised', false],
] as const)('a recording of before, %s and %s, plays in browsers by its type: %s', async (given) => {
  const [contentType, mediaCheck, plays] = given
  const { leadId, callLogId, recordings: list } = await service.lead()
  const id = crypto.randomUUID()
  const { db } = service.service
  await db.write(
    asStatement((orm) =>
      orm.insert(recordings).values({
        id,
        uploadId: id,
        leadId,
        callLogId,
        telecallerId: 'telecaller-a',
        filename: 'call.mp3',
        path: `${leadId}/${id}.mp3`,
        contentType,
        size: 1,
        sha256: '00',
        mediaCheck,
        createdAtMs: 1,
      }),
    ),
  )
  expect(await jsonOf(await service.api('GET', list))).toMatchObject({ recordings: [{ id, plays_in_browsers: plays }] })
})
