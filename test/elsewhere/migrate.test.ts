/** `call-recordings migrate`: from SQLite and a disk to PostgreSQL and a bucket, and back; and the other commands over those. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { createOutput } from '../../src/commands/output.ts'
import { sweep } from '../../src/commands/sweep.ts'
import { readConfig } from '../../src/config/config.ts'
import { connectS3 } from '../../src/storage/s3/s3-client.ts'
import { DOORS, sendThrough } from '../support/doors.ts'
import { isPostgres } from '../support/home.ts'
import { legacyClient } from '../support/legacy.ts'
import { hasPostgres, postgres } from '../support/postgres.ts'
import { childEnvironment, NODE, runCommand, type ServerProcess, startProcess } from '../support/process.ts'
import {
  type Bucket,
  hasS3,
  S3_CREDENTIALS,
  type S3Server,
  saysWhereS3IsMissing,
  startS3,
  withCredentials,
} from '../support/s3.ts'
import { afterwards, jsonOf, movingClock, type TestLead } from '../support/service.ts'
import { metadata, noise, tusClient } from '../support/tus.ts'

saysWhereS3IsMissing()
if (!hasPostgres && process.env.CI) {
  test('PostgreSQL is there (apt-get install postgresql)', () => {
    throw new Error('PostgreSQL is missing')
  })
}

const KIB = 1024
const MIB = 1024 * KIB

async function temporary(): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'migrate-'))
  afterwards(() => rm(dir, { recursive: true, force: true }))
  return dir
}

/** A home and its settings, as a server and as the commands take them. */
interface Home {
  dir: string
  env: Record<string, string>
  /** The file that `--to` takes. */
  file: string
}

async function homeWith(env: Record<string, string>): Promise<Home> {
  const dir = await temporary()
  const file = path.join(dir, 'settings.env')
  const { PATH: _path, HOME: _home, ...settings } = childEnvironment(dir, env)
  const lines = Object.entries(settings).map(([name, value]) => `${name}="${value}"\n`)
  await writeFile(file, `# settings\n${lines.join('')}`)
  return { dir, env, file }
}

const storeSettings = ({ dir, env }: Home) =>
  readConfig(childEnvironment(dir, env)).store as NonNullable<ReturnType<typeof readConfig>['store']>

const onDisk = () => homeWith({})

interface Stored {
  path: string
  bytes: Buffer
}

async function store(server: ServerProcess, count: number, sizeOf: (i: number) => number): Promise<Stored[]> {
  const stored: Stored[] = []
  for (let i = 0; i < count; i++) {
    const lead = await server.lead()
    const bytes = noise(sizeOf(i))
    const door = DOORS[i % DOORS.length] as (typeof DOORS)[number]
    const { recordingId } = await sendThrough(door, server, lead, bytes, 'call.wav')
    stored.push({ path: `/api/leads/${lead.leadId}/recordings/${recordingId}`, bytes })
  }
  return stored
}

async function played(server: ServerProcess, where: string): Promise<Buffer | number> {
  const res = await server.api('GET', where, { token: server.tokens.supervisor })
  const bytes = Buffer.from(await res.arrayBuffer())
  return res.status === 200 ? bytes : res.status
}

async function expectAll(server: ServerProcess, stored: readonly Stored[]): Promise<void> {
  for (const { path: where, bytes } of stored) {
    const came = await played(server, where)
    expect(
      Buffer.isBuffer(came) && came.equals(bytes),
      `${where}: ${typeof came === 'number' ? came : came.length}`,
    ).toBe(true)
  }
}

/** The address of the same thing at another server. */
const at = (server: ServerProcess, url: string) => `${server.url}${new URL(url).pathname}`
const leadAt = (server: ServerProcess, lead: TestLead): TestLead => ({
  ...lead,
  uploads: at(server, lead.uploads),
  recordings: at(server, lead.recordings),
})

/** Runs `migrate` and kills it after so long; whether it was still at work. */
async function killedAfter(ms: number, from: Home, to: Home): Promise<boolean> {
  const child: ChildProcess = spawn(NODE, ['bin/call-recordings.js', 'migrate', '--to', to.file], {
    env: childEnvironment(from.dir, from.env),
    stdio: 'ignore',
  })
  const ended = once(child, 'close')
  await Promise.race([ended, sleep(ms)])
  const isAtWork = child.exitCode === null
  child.kill('SIGKILL')
  await ended
  return isAtWork
}

describe.skipIf(!hasS3 || !hasPostgres || isPostgres)('migrate', () => {
  let s3: S3Server
  let bucket: Bucket

  beforeAll(async () => {
    s3 = await startS3()
    withCredentials()
  })

  async function elsewhere(): Promise<Home> {
    bucket = await s3.bucket()
    return homeWith({
      ...S3_CREDENTIALS,
      RECORDINGS_DATABASE_URL: await (await postgres()).database(),
      RECORDINGS_STORE: `s3://${bucket.name}/calls`,
      RECORDINGS_S3_ENDPOINT: s3.endpoint,
      RECORDINGS_PLAYBACK_LINK_SECRET: 'a secret of the links, the same for all instances',
    })
  }

  const start = ({ dir, env }: Home) => startProcess({ dir, env })
  const migrate = (from: Home, to: Home, ...options: string[]) =>
    runCommand(['migrate', '--to', to.file, ...options], from)

  test('brings all there and back, beside the running server and once more; clients go on after each move', async () => {
    const [disk, cloud] = [await onDisk(), await elsewhere()]
    let server = await start(disk)
    const stored = await store(server, 30, (i) => (i === 4 ? 20 * MIB : 1 + i * 40 * KIB))
    const lead = await server.lead()
    const legacyLead = await server.lead()
    const moved = await server.lead()
    let tus = tusClient(server.tokens.telecaller)

    const whole = noise(2 * MIB)
    let upload = await tus.begin(lead, whole.length)
    await tus.patch(upload, 0, whole.subarray(0, MIB))
    const chunks = Array.from({ length: 6 }, (_, i) => noise(50_000 + i))
    const chunk = (i: number) => chunks[i] as Buffer
    let legacy = legacyClient(server)
    const legacyId = await legacy.begin(legacyLead)
    await legacy.append(legacyLead, legacyId, 0, noise(70_000))
    for (const i of [3, 0, 1]) await legacy.append(legacyLead, legacyId, i, chunk(i))
    const parts = [noise(300_000), noise(200_000)] as const
    const partial = async (part: Buffer) => {
      const headers = { 'upload-concat': 'partial', 'upload-length': String(part.length) }
      return (await tus.create(lead.uploads, headers)).headers.get('location') as string
    }
    let partUrls = [await partial(parts[0]), await partial(parts[1])]
    await tus.patch(partUrls[0] as string, 0, parts[0])
    await tus.patch(partUrls[1] as string, 0, parts[1].subarray(0, 150_000))

    const shown = await migrate(disk, cloud, '--dry-run')
    expect(shown).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('30 (') })
    expect(shown.stdout).toContain('nothing was done')
    expect(await bucket.objects()).toEqual([])

    const first = await migrate(disk, cloud)
    expect(first).toMatchObject({ code: 0, stderr: '' })
    expect(first.stdout).toMatch(/^A server runs on .*Stop it, and run the same command once more\.$/m)

    // The server goes on.
    await tus.patch(upload, MIB, whole.subarray(MIB, MIB + 300_000))
    await legacy.append(legacyLead, legacyId, 4, chunk(4))
    await tus.patch(partUrls[1] as string, 150_000, parts[1].subarray(150_000, 180_000))
    stored.push(...(await store(server, 2, () => 5_000)))
    const [deleted] = stored.splice(7, 1) as [Stored]
    const supervisor = { token: server.tokens.supervisor }
    expect((await server.api('DELETE', deleted.path, supervisor)).status).toBe(204)
    const owner = { token: server.tokens.crm, body: { telecaller_id: 'telecaller-b' } }
    expect((await server.api('PUT', `/api/leads/${moved.leadId}`, owner)).status).toBe(200)
    await server.kill('SIGTERM')

    const second = await migrate(disk, cloud)
    expect(second).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('the same at both ends') })
    expect(second.stdout).toContain('recordings  31')
    expect(second.stdout).toContain('2 (9.8 KiB) copied')
    const third = await migrate(disk, cloud)
    expect(third).toMatchObject({ code: 0, stderr: '' })
    expect(third.stdout.match(/ 0 (\(0 B\) )?copied/g)).toHaveLength(4)
    expect(await runCommand(['verify'], cloud)).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^31 recordings, .*all as they were stored/),
    })

    const goOn = async (next: ServerProcess) => {
      const old = server
      server = next
      tus = tusClient(next.tokens.telecaller)
      legacy = legacyClient(next)
      upload = at(next, upload)
      partUrls = partUrls.map((url) => at(next, url))
      return old
    }
    await goOn(await start(cloud))
    await expectAll(server, stored)
    expect(await played(server, deleted.path)).toBe(404)
    expect((await server.api('GET', `/api/leads/${moved.leadId}/recordings`)).status).toBe(403)
    expect((await tus.head(upload)).headers.get('upload-offset')).toBe(String(MIB + 300_000))
    await tus.patch(upload, MIB + 300_000, whole.subarray(MIB + 300_000, MIB + 500_000))
    expect((await legacy.append(leadAt(server, legacyLead), legacyId, 5, chunk(5))).status).toBe(202)
    // A chunk of before the move takes another's place.
    expect((await legacy.append(leadAt(server, legacyLead), legacyId, 1, chunk(1))).status).toBe(202)
    chunks[3] = noise(60_000)
    expect((await legacy.append(leadAt(server, legacyLead), legacyId, 3, chunk(3))).status).toBe(202)
    expect((await tus.head(partUrls[1] as string)).headers.get('upload-offset')).toBe('180000')
    stored.push(...(await store(server, 3, () => 70_000)))

    const beside = await migrate(cloud, disk)
    expect(beside).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('Stop it, and run') })
    await tus.patch(partUrls[1] as string, 180_000, parts[1].subarray(180_000, 190_000))
    await server.kill('SIGTERM')
    const back = await migrate(cloud, disk)
    expect(back).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('the same at both ends') })
    expect(await runCommand(['verify'], disk)).toMatchObject({ code: 0 })

    await goOn(await start(disk))
    await expectAll(server, stored)
    const done: [Response, Buffer][] = []
    done.push([await tus.patch(upload, MIB + 500_000, whole.subarray(MIB + 500_000)), whole])
    const there = leadAt(server, legacyLead)
    expect((await legacy.append(there, legacyId, 2, chunk(2))).status).toBe(202)
    const finalized = await legacy.finalize(there, legacyId, 6)
    expect(finalized.status).toBe(200)
    const { id } = await jsonOf(finalized)
    await tus.patch(partUrls[1] as string, 190_000, parts[1].subarray(190_000))
    const final = await tus.create(at(server, lead.uploads), {
      'upload-concat': `final;${partUrls.map((url) => new URL(url).pathname).join(' ')}`,
      'upload-metadata': metadata({ filename: 'call.wav', call_log_id: lead.callLogId }),
    })
    done.push([final, Buffer.concat(parts)])
    await expectAll(server, [
      ...done.map(([res, bytes]) => ({
        path: `/api/leads/${lead.leadId}/recordings/${res.headers.get('recording-id')}`,
        bytes,
      })),
      { path: `/api/leads/${legacyLead.leadId}/recordings/${id}`, bytes: Buffer.concat(chunks) },
    ])
    expect(server.lines.filter(({ level }) => level === 'error')).toEqual([])
  }, 240_000)

  test('killed in the middle and run again is complete, and what is open goes on at the other home', async () => {
    const [disk, cloud] = [await onDisk(), await elsewhere()]
    const server = await start(disk)
    const stored = await store(server, 16, (i) => 200 * KIB + i)
    const lead = await server.lead()
    const whole = noise(600_000)
    const upload = await tusClient(server.tokens.telecaller).begin(lead, whole.length)
    await tusClient(server.tokens.telecaller).patch(upload, 0, whole.subarray(0, 400_000))
    await server.kill()
    let kills = 0
    for (let ms = 800; await killedAfter(ms, disk, cloud); ms = Math.ceil(ms * 1.3)) kills += 1
    expect(kills).toBeGreaterThan(1)
    const last = await migrate(disk, cloud)
    expect(last).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('the same at both ends') })
    const there = await start(cloud)
    await expectAll(there, stored)
    const tus = tusClient(there.tokens.telecaller)
    const res = await tus.patch(at(there, upload), 400_000, whole.subarray(400_000))
    const where = `/api/leads/${lead.leadId}/recordings/${res.headers.get('recording-id')}`
    await expectAll(there, [{ path: where, bytes: whole }])
  }, 120_000)

  test.for(['moved', 'part-copied', 'became'])(
    'brings over what a server has left that died at the point `%s` of a finish, and it becomes a recording there',
    { timeout: 120_000 },
    async (step) => {
      const [disk, cloud] = [await onDisk(), await elsewhere()]
      const server = await startProcess({ dir: disk.dir, env: { RECORDINGS_TEST_CRASH_AT: step } })
      const lead = await server.lead()
      const tus = tusClient(server.tokens.telecaller)
      const pieces = [noise(90_000), noise(80_000), noise(70_000)] as const
      const values = metadata({ filename: 'call.wav', call_log_id: lead.callLogId })
      let legacyId: string | undefined
      if (step === 'moved') {
        const url = await tus.begin(lead, 240_000)
        await tus.patch(url, 0, Buffer.concat(pieces)).catch(() => {})
      } else if (step === 'part-copied') {
        const urls: string[] = []
        for (const piece of pieces) {
          const headers = { 'upload-concat': 'partial', 'upload-length': String(piece.length) }
          const url = (await tus.create(lead.uploads, headers)).headers.get('location') as string
          urls.push(new URL(url).pathname)
          await tus.patch(url, 0, piece)
        }
        const headers = { 'upload-concat': `final;${urls.join(' ')}`, 'upload-metadata': values }
        await tus.create(lead.uploads, headers).catch(() => {})
      } else {
        const legacy = legacyClient(server)
        legacyId = await legacy.begin(lead)
        await legacy.append(lead, legacyId, 0, noise(50_000))
        for (const [i, piece] of pieces.entries()) await legacy.append(lead, legacyId, i, piece)
        await legacy.finalize(lead, legacyId, 3).catch(() => {})
      }
      expect(await server.exited).toMatchObject({ signal: 'SIGKILL' })
      const result = await migrate(disk, cloud)
      expect(result).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('the same at both ends') })
      const there = await start(cloud)
      const leadThere = leadAt(there, lead)
      if (legacyId !== undefined) expect((await legacyClient(there).finalize(leadThere, legacyId, 3)).status).toBe(200)
      const list = async () =>
        (await jsonOf(await there.api('GET', leadThere.recordings))).recordings as { id: string }[]
      await expect.poll(async () => (await list()).length, { timeout: 30_000 }).toBe(1)
      const [recording] = await list()
      await expectAll(there, [
        { path: `${new URL(leadThere.recordings).pathname}/${recording?.id}`, bytes: Buffer.concat(pieces) },
      ])
    },
  )

  test('that would write over what is newer at the other home leaves it, and says so; deletions without a trace wait for a word', async () => {
    const [disk, cloud] = [await onDisk(), await elsewhere()]
    const server = await start(disk)
    const stored = await store(server, 3, () => 1_000)
    const lead = await server.lead()
    const whole = noise(9_000)
    const upload = await tusClient(server.tokens.telecaller).begin(lead, whole.length)
    await tusClient(server.tokens.telecaller).patch(upload, 0, whole.subarray(0, 3_000))
    await server.kill('SIGTERM')
    expect((await migrate(disk, cloud)).code).toBe(0)

    const there = await start(cloud)
    await tusClient(there.tokens.telecaller).patch(at(there, upload), 3_000, whole.subarray(3_000, 6_000))
    stored.push(...(await store(there, 1, () => 1_000)))
    const refused = await migrate(disk, cloud)
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('a server runs on') })
    await there.kill('SIGTERM')
    const wrong = await migrate(disk, cloud)
    expect(wrong.code).toBe(1)
    expect(wrong.stderr).toContain(`upload ${path.basename(upload)}: it went on there since`)
    expect(wrong.stderr).toContain('1 recording of the target the source does not have')
    const same = await migrate(disk, disk)
    expect(same).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('names the home that is to be moved itself'),
    })

    expect(await migrate(cloud, disk)).toMatchObject({ code: 0, stderr: '' })
    const again = await start(disk)
    await expectAll(again, stored)
    const res = await tusClient(again.tokens.telecaller).patch(at(again, upload), 6_000, whole.subarray(6_000))
    expect(res.headers.get('recording-id')).not.toBeNull()
  }, 120_000)

  test('doctor, verify, sweep and backup over PostgreSQL and a bucket tell what is there, damaged, set aside, and to be kept', async () => {
    const cloud = await elsewhere()
    const server = await start(cloud)
    const stored = await store(server, 5, (i) => 2_000 + i)
    const parent = await temporary()
    const target = path.join(parent, 'backup')
    const backup = await runCommand(['backup', target], cloud)
    expect(backup).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('pg_dump') })
    const sums = await readFile(path.join(target, 'SHA256SUMS'), 'utf8')
    const objects = await bucket.objects('calls/recordings/')
    expect(sums.trim().split('\n')).toHaveLength(5)
    for (const { name } of objects) {
      const digest = createHash('sha256')
        .update((await bucket.read(name)) as Buffer)
        .digest('hex')
      expect(sums).toContain(`${digest}  ${name.slice('calls/'.length)}\n`)
    }
    const settings = await readFile(path.join(target, 'settings.env'), 'utf8')
    expect(settings).toContain(`RECORDINGS_STORE="s3://${bucket.name}/calls"\n`)
    expect(settings).toContain('# RECORDINGS_PLAYBACK_LINK_SECRET= is a secret\n')
    expect(settings).not.toContain('the same for all instances')

    const { port: PORT } = new URL(server.url)
    const looked = await runCommand(['doctor'], { ...cloud, env: { ...cloud.env, PORT } })
    expect(looked).toMatchObject({ code: 0, stderr: '' })
    expect(looked.stdout).toMatch(/^ok +database .* answers; it knows 5 recordings/m)
    expect(looked.stdout).toMatch(/^ok +store +s3:.* answers/m)
    expect(looked.stdout).toMatch(/^ok +clock .* that of PostgreSQL are 0\.\d s apart$/m)
    expect(looked.stdout).toMatch(/^ok +port .* which runs$/m)

    const [lost, short, kept] = objects.map(({ name }) => name) as [string, string, string]
    const s3Store = await connectS3(storeSettings(cloud))
    afterwards(async () => s3Store.close())
    const unknown = 'lead-x/call-x_20260101T000000Z_0123456789ab.wav'
    await s3Store.put(`recordings/${unknown}`, noise(2_048))
    await s3Store.put(short.slice('calls/'.length), noise(10))
    await bucket.remove(lost)
    const damaged = await runCommand(['verify'], cloud)
    expect(damaged.code).toBe(1)
    expect(damaged.stdout).toContain('5 recordings')
    expect(damaged.stdout).toContain(`${lost.slice('calls/recordings/'.length)}) cannot be read: ENOENT`)
    expect(damaged.stdout).toContain(`${short.slice('calls/recordings/'.length)}) has 10 bytes instead of`)
    const incomplete = await runCommand(['backup', path.join(parent, 'other')], cloud)
    expect(incomplete).toMatchObject({ code: 1, stderr: expect.stringContaining('is missing') })

    const young = await runCommand(['sweep', '--dry-run'], cloud)
    expect(young).toMatchObject({ code: 0, stdout: expect.stringContaining('1 younger than an hour was passed over') })
    const config = readConfig(childEnvironment(cloud.dir, cloud.env))
    const later = movingClock()
    later.advance(3_700_000)
    const said: string[] = []
    const stdout = vi.spyOn(process.stdout, 'write').mockImplementation((line) => said.push(String(line)) > 0)
    onTestFinished(() => stdout.mockRestore())
    expect(await sweep(config, { dryRun: true, unknown: false, yes: false }, createOutput(false), later)).toBe(0)
    expect(said).toContain(`unknown  recordings/${unknown} (2.0 KiB): no row has ever heard of it\n`)
    expect(await sweep(config, { dryRun: false, unknown: true, yes: true }, createOutput(false), later)).toBe(0)
    const day = new Date(later.now()).toISOString().slice(0, 10)
    expect(said.at(-2)).toContain(`for a week in quarantine/${day}/${unknown}`)
    const names = (await bucket.objects()).map(({ name }) => name)
    expect(names).toContain(`calls/quarantine/${day}/${unknown}`)
    expect(names).toContain(kept)
    expect(names).not.toContain(`calls/recordings/${unknown}`)
    await expectAll(
      server,
      stored.filter(({ path: where }) => where.includes(`/${kept.split('/')[2]}/`)),
    )
  }, 120_000)
})
