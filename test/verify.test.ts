/** `call-recordings verify` of part of the recordings, and in several runs. */
import { readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { createOutput } from '../src/commands/output.ts'
import { verify } from '../src/commands/verify.ts'
import { type Course, takesNext } from '../src/commands/verify-course.ts'
import { readConfig } from '../src/config/config.ts'
import { childEnvironment, runCommand } from './support/process.ts'
import { record } from './support/recordings.ts'
import { afterwards, filesIn, startService } from './support/service.ts'

const server = await startService()
for (let i = 0; i < 6; i++) await record(server, String(i).repeat(1_000))
const paths = (await filesIn(path.join(server.dir, 'recordings'))).sort()
const state = path.join(server.dir, 'verify.json')
const run = async (...words: string[]) => {
  const { code, stdout, stderr } = await runCommand(['verify', '--json', ...words], server)
  const objects = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  return { code, stderr, objects, result: objects.at(-1) }
}

test('reads as many as a sample has, and those of a time', async () => {
  const results = await Promise.all([
    run('--sample', '2'),
    run('--sample', '50%'),
    run('--sample', '1000'),
    run('--since', '1h'),
    run('--since', '2999-01-01'),
    run('--since', '2020-01-01T00:00:00Z', '--sample', '1'),
  ])
  expect(results.map(({ code, result }) => [code, result?.recordings, result?.of])).toEqual([
    [0, 2, 6],
    [0, 3, 6],
    [0, 6, 6],
    [0, 6, 6],
    [0, 0, 0],
    [0, 1, 6],
  ])
})

test('a sample has each with the same chance', () => {
  const times = [0, 0, 0, 0]
  for (let i = 0; i < 4_000; i++) {
    const course = { wanted: 2, coming: 4 } as Course
    for (const at of times.keys()) if (takesNext(course)) times[at] = (times[at] as number) + 1
    expect(course.wanted).toBe(0)
  }
  for (const count of times) expect(Math.abs(count - 2_000)).toBeLessThan(200)
})

test.for([
  [['--sample', '0'], /--sample is `0`: expected a number/],
  [['--sample', '101%'], /--sample is `101%`: expected/],
  [['--since', 'yesterday'], /--since is `yesterday`: expected a date such as/],
] as const)('%j is refused', async ([words, said]) => {
  expect(await run(...words)).toMatchObject({ code: 2, stderr: expect.stringMatching(said) })
})

describe('with --state', () => {
  test('goes on behind what was read when it was broken off, and counts that too', async () => {
    const broken = path.join(server.dir, 'recordings', paths[3] as string)
    const bytes = await readFile(broken)
    await writeFile(broken, 'x'.repeat(1_000))
    afterwards(() => writeFile(broken, bytes))
    const config = readConfig(childEnvironment(server.dir))
    const output = {
      ...createOutput(true),
      tell() {
        throw new Error('broken off')
      },
    }
    const options = { state, since: undefined, sample: undefined }
    await expect(verify(config, options, output)).rejects.toThrow('broken off')
    expect(JSON.parse(await readFile(state, 'utf8'))).toMatchObject({ after: paths[2], recordings: 3, damaged: 0 })

    // Not read once more.
    await rm(path.join(server.dir, 'recordings', paths[0] as string))
    expect(await run('--state', state, '--since', '1h')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/of a verify without --since and --sample; go on with the same options/),
    })
    const second = await run('--state', state)
    expect(second).toMatchObject({ code: 1, stderr: '' })
    expect(second.objects).toHaveLength(2)
    expect(second.objects[0]).toMatchObject({ type: 'damaged', path: paths[3] })
    expect(second.result).toMatchObject({ recordings: 6, damaged: 1 })
    // What is done is forgotten: the next run begins anew, and finds both.
    expect((await run('--state', state)).result).toMatchObject({ recordings: 6, damaged: 2 })
  })

  test('refuses a file of something else, and leaves it', async () => {
    await writeFile(state, '{}')
    expect(await run('--state', state)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/is no state of a verify/),
    })
    expect(await readFile(state, 'utf8')).toBe('{}')
  })
})
