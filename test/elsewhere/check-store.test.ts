/** `call-recordings check-store`, and what is loaded where no store is configured. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { runCommand, startProcess } from '../support/process.ts'
import { record } from '../support/recordings.ts'
import { type Bucket, hasS3, S3_CREDENTIALS, type S3Server, saysWhereS3IsMissing, startS3 } from '../support/s3.ts'
import { type FaultyStore, faultyStore } from '../support/store-faults.ts'

saysWhereS3IsMissing()

const dir = mkdtempSync(path.join(tmpdir(), 'check-store-'))
beforeAll(() => () => rmSync(dir, { recursive: true, force: true }))

/** Node tells of each package of Amazon's that it loads. */
const watched = path.join(dir, 'watch.mjs')
writeFileSync(
  watched,
  `import { registerHooks } from 'node:module'
registerHooks({ load(url, context, next) {
  if (/node_modules.(@aws-sdk|@smithy|undici|pg)\\//.test(url)) process.stderr.write('LOADED ' + url + '\\n')
  return next(url, context)
} })
`,
)

test('without a store nothing of what speaks to one is loaded, also when a recording is stored and played', async () => {
  const server = await startProcess({ nodeArguments: ['--import', watched] })
  const { url } = await record(server, '0123456789')
  expect((await server.api('GET', url)).status).toBe(200)
  expect((await server.api('GET', '/readyz', { token: null })).status).toBe(200)
  expect((await server.kill('SIGTERM')).code).toBe(0)
  expect(server.stderr).not.toContain('LOADED')
})

test('check-store asks for a bucket, and for nothing that is no matter of the store', async () => {
  const nothing = await runCommand(['check-store'], { dir })
  expect(nothing.code).toBe(1)
  expect(nothing.stderr).toContain('RECORDINGS_STORE is not given: expected a bucket')
  const twice = await runCommand(['check-store', 'calls'], { dir })
  expect([twice.code, twice.stderr]).toEqual([2, expect.stringContaining('too many arguments')])
})

describe.skipIf(!hasS3)('check-store', () => {
  let server: S3Server
  let bucket: Bucket
  let faults: FaultyStore

  beforeAll(async () => {
    server = await startS3()
    bucket = await server.bucket()
    faults = await faultyStore(server.endpoint)
  })

  const check = (env: Record<string, string> = {}) =>
    runCommand(['check-store'], {
      dir,
      env: {
        ...S3_CREDENTIALS,
        RECORDINGS_STORE: `s3://${bucket.name}/calls`,
        RECORDINGS_S3_ENDPOINT: faults.endpoint,
        ...env,
      },
    })

  test('says of a good store in a sentence each what works, and leaves nothing behind', async () => {
    const { code, stdout, stderr } = await check({ NODE_OPTIONS: `--import ${watched}` })
    const lines = stdout.trim().split('\n')
    expect(lines[0]).toBe(`s3://${bucket.name}/calls/ at ${faults.endpoint}`)
    expect(lines.slice(1).map((line) => line.slice(0, 9).trim())).toEqual([...Array(9).fill('ok'), 'advice', 'advice'])
    expect(code).toBe(0)
    expect(stderr).toContain('LOADED')
    expect(await bucket.objects()).toEqual([])
    expect(await bucket.parts()).toEqual([])
  })

  test.for([
    ['list', 'missing  it should be a store that lists objects', 'the sweep does not find'],
    [
      'part',
      'missing  it should be a store that puts an object together of parts',
      'more than 16 MiB can not be stored',
    ],
    ['delete-many', 'missing  it should be a store that removes many objects at once', 'can not work with it'],
  ] as const)('says what is missing, and what for: %s', async ([kind, what, without]) => {
    faults.fail((asked) => (asked.kind === kind ? { status: 501, code: 'NotImplemented' } : undefined))
    const { code, stdout } = await check()
    faults.mend()
    expect(code).toBe(1)
    const line = stdout.split('\n').find((each) => each.startsWith(what))
    expect(line).toContain('(NotImplemented)')
    expect(line).toContain(without)
    expect(stdout.split('\n').filter((each) => each.startsWith('ok'))).not.toEqual([])
  })

  test.for([
    ['wrong credentials', { AWS_SECRET_ACCESS_KEY: 'not-this-one' }, 'the store refuses'],
    ['no such bucket', { RECORDINGS_STORE: 's3://no-such-bucket' }, 'there is no such bucket'],
    ['no server there', { RECORDINGS_S3_ENDPOINT: 'http://127.0.0.1:9' }, 'ECONNREFUSED'],
  ] as const)('says it once where nothing works: %s', async ([, env, said]) => {
    const { code, stdout } = await check(env)
    expect(code).toBe(1)
    expect(stdout.trim().split('\n')).toHaveLength(2)
    expect(stdout).toContain(said)
    expect(stdout).not.toContain('not-this-one')
  })
})
