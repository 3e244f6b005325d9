import { describe, expect, test } from 'vitest'
import { attemptAnnounced, attemptGone, attemptsInVain, attemptsOf } from '../../src/db/attempts.ts'
import { callLogAdded } from '../../src/db/call-logs.ts'
import { type Database, UniqueViolation } from '../../src/db/database.ts'
import { recordingAdded } from '../../src/db/recordings.ts'
import type { UploadRow } from '../../src/db/schema.ts'
import {
  closedWithSegments,
  segmentsAdded,
  segmentsDropped,
  segmentsJoined,
  segmentsOf,
} from '../../src/db/segments.ts'
import { uploadAdded, uploadEnded } from '../../src/db/uploads.ts'
import { forgettableAfter, uploadForgotten } from '../../src/db/uploads-swept.ts'
import { added } from '../contracts/database.ts'
import { postgresDatabase, sqliteDatabase } from '../support/databases.ts'
import { hasPostgres } from '../support/postgres.ts'

const homes: Record<string, () => Promise<Database>> = { SQLite: sqliteDatabase, PostgreSQL: postgresDatabase }

const upload = (id: string, more: Partial<UploadRow> = {}): UploadRow => ({
  ...{ id, door: 'tus', leadId: 'lead', callLogId: null, callerId: 'c', callerRole: 'telecaller', filename: null },
  ...{ metadata: null, length: null, offset: 0, state: 'receiving', key: null, recordingId: null, concat: null },
  ...{ partIds: null, finalId: null, expectedSha256: null, idempotencyKey: null, idempotencyFingerprint: null },
  ...{ createdAtMs: 1, lastByteAtMs: 1 },
  ...more,
})

const segment = (position: number, size: number) => ({ position, size, name: `at ${position}` })

describe.each(Object.keys(homes).filter((home) => home === 'SQLite' || hasPostgres))('on %s', (home) => {
  async function open(...ids: string[]) {
    const db = await (homes[home] as () => Promise<Database>)()
    await db.write(added('lead'), ...ids.map((id) => uploadAdded(upload(id))))
    return db
  }

  test('segments are told in the order of their bytes, each position once', async () => {
    const db = await open('u', 'v')
    await db.write(...segmentsAdded('u', [segment(100, 50), segment(0, 100)]), ...segmentsAdded('v', []))
    expect(await segmentsOf(db, 'u')).toEqual([segment(0, 100), segment(100, 50)])
    expect(await segmentsOf(db, 'v')).toEqual([])
    await expect(db.write(...segmentsAdded('u', [segment(100, 7)]))).rejects.toThrow(UniqueViolation)
    await db.write(segmentsDropped('u'))
    expect(await segmentsOf(db, 'u')).toEqual([])
  })

  test('the segments of parts become their whole’s, one part behind the other', async () => {
    const db = await open('b', 'a', 'empty', 'other', 'whole')
    await db.write(
      ...segmentsAdded('b', [segment(0, 2 ** 40), { position: 2 ** 40, size: 5, name: 'second' }]),
      ...segmentsAdded('a', [{ position: 0, size: 10, name: 'third' }]),
      ...segmentsAdded('other', [{ position: 0, size: 1, name: 'not of it' }]),
    )
    const parts = [
      { id: 'b', size: 2 ** 40 + 5 },
      { id: 'empty', size: 0 },
      { id: 'a', size: 10 },
    ]
    expect(await db.write(segmentsJoined('whole', parts))).toEqual([3])
    expect(await segmentsOf(db, 'whole')).toEqual([
      segment(0, 2 ** 40),
      { position: 2 ** 40, size: 5, name: 'second' },
      { position: 2 ** 40 + 5, size: 10, name: 'third' },
    ])
    expect(await segmentsOf(db, 'a')).toEqual([])
    expect(await segmentsOf(db, 'other')).toHaveLength(1)
  })

  test('an upload that is over is known by its segments until they are gone, and not forgotten before', async () => {
    const db = await open('u', 'v', 'w')
    await db.write(
      ...segmentsAdded('u', [segment(0, 1)]),
      ...segmentsAdded('v', [segment(0, 1)]),
      uploadEnded('u', 'expired'),
    )
    await db.write(uploadEnded('w', 'expired'))
    expect(await closedWithSegments(db, '', 10)).toEqual(['u'])
    const memory = { silentSinceMs: 10, keyedSilentSinceMs: 10 }
    expect(
      (await forgettableAfter(db, '', 10, memory)).map(({ id, isForgettable }) => [id, Boolean(isForgettable)]),
    ).toEqual([
      ['u', false],
      ['v', false],
      ['w', true],
    ])
    expect(await db.write(uploadForgotten('u', memory))).toEqual([0])
    await db.write(segmentsDropped('u'))
    expect(await closedWithSegments(db, '', 10)).toEqual([])
    expect(await db.write(uploadForgotten('u', memory))).toEqual([1])
  })

  test('attempts that became no recording are told when their upload is over', async () => {
    const db = await open('u', 'v')
    const attempt = (uploadId: string, key: string) => attemptAnnounced({ uploadId, key })
    await db.write(attempt('u', 'k1'), attempt('u', 'k2'), attempt('u', 'k2'), attempt('v', 'k3'))
    expect(await attemptsOf(db, 'u')).toEqual(['k1', 'k2'])
    expect(await attemptsInVain(db, { uploadId: '', key: '' }, 10)).toEqual([])
    const none = { startedAtMs: null, durationSeconds: null, direction: null }
    await db.write(
      callLogAdded({ id: 'call', leadId: 'lead', ...none, createdAtMs: 1, updatedAtMs: 1 }),
      recordingAdded(
        {
          ...{
            id: 'r',
            uploadId: 'u',
            leadId: 'lead',
            callLogId: 'call',
            telecallerId: 't',
            filename: 'f',
            path: 'k2',
          },
          ...{ contentType: 'audio/wav', size: 1, sha256: 'x', durationSeconds: null, mediaCheck: 'ok' },
          ...{ playsInBrowsers: null, createdAtMs: 1 },
        },
        () => {},
      ),
      uploadEnded('u', 'terminated'),
      uploadEnded('v', 'expired'),
    )
    const first = { uploadId: 'u', key: 'k1', lastByteAtMs: 1 }
    expect(await attemptsInVain(db, { uploadId: '', key: '' }, 1)).toEqual([first])
    expect(await attemptsInVain(db, first, 10)).toEqual([{ uploadId: 'v', key: 'k3', lastByteAtMs: 1 }])
    await db.write(attemptGone(first))
    expect(await attemptsInVain(db, { uploadId: '', key: '' }, 1)).toEqual([
      { uploadId: 'v', key: 'k3', lastByteAtMs: 1 },
    ])
  })
})
