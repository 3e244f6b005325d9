/** `call-recordings restore`: a backup into an empty place, whole or told from it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { appendFile, cp, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { backup } from '../src/commands/backup.ts'
import { restore } from '../src/commands/restore.ts'
import { verify } from '../src/commands/verify.ts'
import { readConfig } from '../src/config/config.ts'
import { makePlaces } from '../src/storage/disk/places.ts'
import { olderDatabase } from './support/older-database.ts'
import { childEnvironment, NODE } from './support/process.ts'
import { record } from './support/recordings.ts'
import { said } from './support/said.ts'
import { afterwards, filesIn, startService } from './support/service.ts'
import { noise } from './support/tus.ts'

async function temporary(): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'restore-'))
  afterwards(() => rm(dir, { recursive: true, force: true }))
  return dir
}

const configOf = (dir: string, env: Record<string, string> = {}) =>
  readConfig({ NODE_ENV: 'test', RECORDINGS_DATA_DIR: dir, ...env })

/** A server's recordings, and a backup of them that the other tests copy. */
const server = await startService()
const sizes = [1_000, 70_000, 300_000, 5]
for (const size of sizes) await record(server, noise(size))
const good = path.join(await temporary(), 'backup')
expect(await backup(server.service.config, good, said())).toBe(0)

async function copyOfBackup(): Promise<string> {
  const copy = path.join(await temporary(), 'backup')
  await cp(good, copy, { recursive: true })
  return copy
}

const recordingsOf = (directory: string) => filesIn(path.join(directory, 'recordings'))

/** @param dir what `RECORDINGS_DATA_DIR` names */
async function restored(dir: string, directory = good, { despiteDamage = false, env = {} } = {}) {
  const output = said()
  const code = await restore(configOf(dir, env), { directory, despiteDamage }, output)
  return { code, lines: output.lines, sums: output.sums }
}

const isVerified = async (dir: string, env = {}) => (await verify(configOf(dir, env), {}, said())) === 0

describe('restore', () => {
  test('brings all of a backup into a place that is not there yet, says what to do next, and verify finds it sound', async () => {
    const dir = path.join(await temporary(), 'new/data')
    const { code, lines, sums } = await restored(dir)
    expect({ code, sums }).toMatchObject({ code: 0, sums: { recordings: sizes.length, left_out: 0 } })
    expect(lines).toEqual([
      expect.stringMatching(/^restored: 4 recordings of 362\.3 KiB/),
      expect.stringMatching(/^next: start the server/),
    ])
    expect((await recordingsOf(dir)).sort()).toEqual((await recordingsOf(good)).sort())
    expect(await isVerified(dir)).toBe(true)
    expect(await readdir(dir)).not.toContain('.restoring')
    for (const folder of [dir, good]) expect((await stat(path.join(folder, 'recordings.db'))).mode & 0o077).toBe(0)
    await expect(restored(dir)).rejects.toThrow(/which holds recordings\.db: a restore goes into an empty place/)
  })

  test('into directories of their own, and beside the secrets that a server was given', async () => {
    const parent = await temporary()
    const dir = path.join(parent, 'data')
    await mkdir(path.join(dir, 'uploads'), { recursive: true })
    await mkdir(path.join(dir, 'lost+found'))
    await writeFile(path.join(dir, 'jwt-secret'), 'x'.repeat(32))
    const env = { RECORDINGS_DIR: path.join(parent, 'elsewhere') }
    expect((await restored(dir, good, { env })).code).toBe(0)
    expect((await filesIn(env.RECORDINGS_DIR)).sort()).toEqual((await recordingsOf(good)).sort())
    expect(await isVerified(dir, env)).toBe(true)
  })

  test('refuses a place that holds anything, and a server that runs there, and leaves them as they are', async () => {
    for (const [what, env] of [
      ['recordings/a/b.wav', {}],
      ['uploads/x', {}],
      ['notes.txt', {}],
    ] as const) {
      const dir = await temporary()
      await mkdir(path.dirname(path.join(dir, what)), { recursive: true })
      await writeFile(path.join(dir, what), 'x')
      await expect(restored(dir, good, { env })).rejects.toThrow(/a restore goes into an empty place/)
      expect(await filesIn(dir)).toEqual([what])
    }
    await expect(restored(server.dir)).rejects.toThrow(/empty place|another server/)
    const inside = await copyOfBackup()
    await expect(restored(path.join(inside, 'data'), inside)).rejects.toThrow(/lies in the backup itself/)
  })

  test.for([
    [
      'is missing',
      async (dir: string) => rm(path.join(dir, 'manifest.json')),
      /is no backup: its manifest\.json can't be read/,
    ],
    [
      'is of another form',
      async (dir: string) => writeFile(path.join(dir, 'manifest.json'), '{"format":2}'),
      /not of a form that this version knows/,
    ],
    ['has no sums', async (dir: string) => rm(path.join(dir, 'SHA256SUMS')), /it has no SHA256SUMS/],
    [
      'has sums that lead outside',
      async (dir: string) =>
        appendFile(path.join(dir, 'SHA256SUMS'), `${'0'.repeat(64)}  recordings/../../etc/passwd\n`),
      /line 6 of .* is no sum of a file in it/,
    ],
    [
      'has a damaged database',
      async (dir: string) => appendFile(path.join(dir, 'recordings.db'), 'x'),
      /the database of the backup is damaged/,
    ],
  ] as const)('makes nothing of a backup that %s', async ([, harm, told]) => {
    const [directory, parent] = [await copyOfBackup(), await temporary()]
    await harm(directory)
    await expect(restored(path.join(parent, 'data'), directory)).rejects.toThrow(told)
    expect(await readdir(parent)).toEqual([])
  })

  test('names what is damaged in the backup and makes nothing, or all others where that is wanted', async () => {
    const [directory, dir] = [await copyOfBackup(), path.join(await temporary(), 'data')]
    const [first = '', second = ''] = await recordingsOf(directory)
    await truncate(path.join(directory, 'recordings', first), 3)
    await rm(path.join(directory, 'recordings', second))
    await expect(restored(dir, directory)).rejects.toThrow(
      /^2 of the backup's recordings are damaged: .*--despite-damage/,
    )
    expect(existsSync(dir)).toBe(false)
    const { code, lines, sums } = await restored(dir, directory, { despiteDamage: true })
    expect({ code, sums }).toMatchObject({ code: 1, sums: { recordings: 2, left_out: 2 } })
    expect(lines).toContainEqual(
      expect.stringMatching(new RegExp(`^damaged in the backup: recordings/${second} can't be read \\(ENOENT\\)`)),
    )
    // What is put back later is found sound.
    for (const file of [first, second])
      await cp(path.join(good, 'recordings', file), path.join(dir, 'recordings', file))
    expect(await isVerified(dir)).toBe(true)
  })

  test('brings the database of an earlier version up to date', async () => {
    const [directory, dir] = [path.join(await temporary(), 'backup'), path.join(await temporary(), 'data')]
    await mkdir(directory)
    ;(await olderDatabase(directory, '_tombstones')).close()
    const { createHash } = await import('node:crypto')
    const sum = createHash('sha256')
      .update(await readFile(path.join(directory, 'recordings.db')))
      .digest('hex')
    await writeFile(path.join(directory, 'SHA256SUMS'), `${sum}  recordings.db\n`)
    await writeFile(
      path.join(directory, 'manifest.json'),
      '{"format":1,"created_at":"2026-01-01T00:00:00Z","recordings":0,"bytes":0}',
    )
    expect((await restored(dir, directory)).code).toBe(0)
    expect(await isVerified(dir)).toBe(true)
  })

  test('killed at any point, it leaves what no server begins to fill, and goes on when it is run again', async () => {
    const dir = path.join(await temporary(), 'data')
    // Each sync takes a quarter of a second: it is killed between two recordings.
    const slow = ['-f', '-qq', '-o', '/dev/null', '-e', 'trace=fsync', '-e', 'inject=fsync:delay_enter=250000']
    const child = spawn('strace', [...slow, NODE, 'bin/call-recordings.js', 'restore', good], {
      env: childEnvironment(dir),
      detached: true,
      stdio: 'ignore',
    })
    const closed = once(child, 'close')
    await expect
      .poll(async () => (await recordingsOf(dir)).length, { timeout: 50_000, interval: 20 })
      .toBeGreaterThan(0)
    process.kill(-(child.pid as number), 'SIGKILL')
    await closed
    expect(await readdir(dir)).toContain('.restoring')
    expect(await readdir(dir)).not.toContain('recordings.db')
    expect(await makePlaces(configOf(dir))).toEqual([
      expect.stringMatching(/a restore of it was broken off: run `call-recordings restore`/),
    ])

    const other = await copyOfBackup()
    await appendFile(path.join(other, 'SHA256SUMS'), await readFile(path.join(other, 'SHA256SUMS')))
    await expect(restored(dir, other)).rejects.toThrow(/a restore of another backup was broken off/)
    // What it had begun to copy is not trusted.
    const [begun = ''] = await recordingsOf(dir)
    await truncate(path.join(dir, 'recordings', begun), 1)
    expect((await restored(dir)).code).toBe(0)
    expect(await isVerified(dir)).toBe(true)
    expect(await makePlaces(configOf(dir))).toEqual([])
  })
})
