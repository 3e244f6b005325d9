/** Import, export and restore over PostgreSQL, beside a server. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { backup } from '../../src/commands/backup.ts'
import { exportRows } from '../../src/commands/export.ts'
import { importRows } from '../../src/commands/import.ts'
import { list } from '../../src/commands/list.ts'
import { restore } from '../../src/commands/restore.ts'
import { SHARED_SECRETS } from '../support/home.ts'
import { hasPostgres, postgres } from '../support/postgres.ts'
import { record } from '../support/recordings.ts'
import { said } from '../support/said.ts'
import { afterwards, startService } from '../support/service.ts'
import { noise } from '../support/tus.ts'

const PLAIN = { dryRun: false, stopOnError: false, fromLine: 1 }
const counts = (created: number, changed = 0, unchanged = 0) => ({ created, changed, unchanged })

describe.skipIf(!hasPostgres)('over PostgreSQL', async () => {
  if (!hasPostgres) return
  const server = await startService({
    env: { RECORDINGS_DATABASE_URL: await (await postgres()).database(), ...SHARED_SECRETS },
  })
  const { config } = server.service
  const folder = await mkdtemp(path.join(tmpdir(), 'rows-'))
  afterwards(() => rm(folder, { recursive: true, force: true }))

  async function imported(text: string, options: Partial<typeof PLAIN> = {}) {
    const file = path.join(folder, 'rows.csv')
    await writeFile(file, text)
    const output = said()
    const code = await importRows(config, { files: [file], ...PLAIN, ...options }, output)
    return { code, sums: output.sums, lines: output.lines }
  }

  test('an import tells beforehand what it does, is seen by the server at once, and does nothing twice', async () => {
    const { leadId } = await server.lead()
    const rows = Array.from({ length: 250 }, (_, i) => `l-${i},telecaller-a,Name ${i},c-${i},${i}\n`).join('')
    const text = `lead_id,telecaller_id,name,call_log_id,duration_seconds\n${rows}${leadId},telecaller-b,,,\nl-1,,,c-2,\nnone,,,c,1\n`
    const trial = await imported(text, { dryRun: true })
    const real = await imported(text)
    expect(real.sums).toEqual({ ...trial.sums, dry_run: false })
    expect(real).toMatchObject({ code: 1, sums: { leads: counts(250, 1), calls: counts(250), refused: 2 } })
    const asked = await server.api('GET', `/api/leads/${leadId}/recordings`)
    expect(asked.status).toBe(403)
    expect((await imported(text)).sums).toMatchObject({ leads: counts(0, 0, 251), calls: counts(0, 0, 250) })

    const file = path.join(folder, 'out.csv')
    const output = said()
    expect(await exportRows(config, { format: 'csv', output: file, forSpreadsheet: false }, output)).toBe(0)
    expect(output.sums).toMatchObject({ leads: 251, calls: 251 })
    const listed = said()
    expect(await list(config, { what: 'calls', lead: 'l-7', limit: 5 }, listed)).toBe(0)
    expect(listed.items).toMatchObject([{ id: 'c-7', duration_seconds: 7 }])
  })

  test('a restore compares what other tools have brought back with the sums of the backup', async () => {
    for (const size of [10, 2_000]) await record(server, noise(size))
    const directory = path.join(folder, 'backup')
    expect(await backup(config, directory, said())).toBe(0)
    const restored = async (settings = config) => {
      const output = said()
      const code = await restore(settings, { directory, despiteDamage: false }, output)
      return { code, lines: output.lines, sums: output.sums }
    }
    await record(server, noise(30))
    expect(await restored()).toMatchObject({ code: 0, sums: { recordings: 2, faults: 0, newer: 1 } })
    const [lead = ''] = (await readdir(config.recordingsDir)).filter((name) => name.startsWith('lead-')).sort()
    await rm(path.join(config.recordingsDir, lead), { recursive: true })
    const missing = await restored()
    expect(missing).toMatchObject({ code: 1, sums: { faults: 1 } })
    expect(missing.lines[0]).toMatch(/^not as in the backup: lead-\S+ is missing in the bucket$/)

    const empty = await startService({
      env: { RECORDINGS_DATABASE_URL: await (await postgres()).database(), ...SHARED_SECRETS },
    })
    await expect(restored(empty.service.config)).rejects.toThrow(
      /know no recording yet: bring back the tables first: pg_restore/,
    )
    const onDisk = await mkdtemp(path.join(tmpdir(), 'rows-'))
    onTestFinished(() => rm(onDisk, { recursive: true }))
    const { postgres: _, ...plain } = config
    const settings = { ...plain, dataDir: onDisk } as typeof config
    await expect(restored(settings)).rejects.toThrow(/holds no database: it is the part of a backup that PostgreSQL/)
  })
})
