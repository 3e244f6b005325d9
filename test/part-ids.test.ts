/** What a version that kept no ids of parts has left is given them when its database is opened. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { openSqlite } from '../src/db/sqlite.ts'
import { uploadById } from '../src/db/uploads.ts'
import { partIdsOf } from '../src/uploads/parts.ts'
import { olderDatabase } from './support/older-database.ts'
import { afterwards } from './support/service.ts'

const HEADERS = [
  ['final;/api/leads/l/uploads/a /api/leads/l/uploads/b', ['a', 'b']],
  ['final;http://h:1/api/leads/l/uploads/b?q=/z  http://h:1/api/leads/l/uploads/a/', ['b', 'a']],
  ['partial', []],
  [null, []],
] as const

test('final uploads of an older version keep their parts, in their order', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'part-ids-'))
  afterwards(() => rm(dir, { recursive: true }))
  const older = await olderDatabase(dir, '_part_ids')
  older.exec("insert into leads (id, telecaller_id, created_at_ms, updated_at_ms) values ('l', 't', 1, 1)")
  const insert = older.prepare(
    `insert into uploads (id, door, lead_id, caller_id, caller_role, concat, created_at_ms, last_byte_at_ms)
     values (?, 'tus', 'l', 't', 'telecaller', ?, 1, 1)`,
  )
  for (const [i, [concat]] of HEADERS.entries()) insert.run(`upload-${i}`, concat)
  older.close()
  const db = await openSqlite(path.join(dir, 'recordings.db'))
  for (const [i, [, ids]] of HEADERS.entries()) {
    const row = await uploadById(db, `upload-${i}`)
    expect(row && partIdsOf(row)).toEqual(ids)
  }
  await db.close()
})
