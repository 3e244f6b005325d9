/** The threads that look into media files: whatever becomes of them, each file gets an answer in time. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { Inspector, type InspectorOptions, type MediaFile } from '../src/media/inspect.ts'
import { AUDIO, fixtureBytes, fixturePath, VIDEO } from './support/fixtures.ts'
import { STALLS } from './support/stalls.ts'

let dir: string
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'inspector-'))
})
afterAll(() => rm(dir, { recursive: true, force: true }))

function inspector(options: Partial<InspectorOptions> = {}): Inspector {
  const made = new Inspector({ deadlineMs: 20_000, ...options })
  onTestFinished(() => made.close())
  return made
}

const fileOf = (name: string, bytes: Buffer): MediaFile => ({
  file: async () => name,
  read: async (position, length) => bytes.subarray(position, position + length),
})
const fixture = (name: string) => [fileOf(fixturePath(name), fixtureBytes(name)), fixtureBytes(name).length] as const

/** A thread whose code is ours: `work` has `task` and `say`. */
async function script(name: string, work: string, ready = 'say({ ready: true })'): Promise<URL> {
  const file = path.join(dir, `${name}.mjs`)
  await writeFile(
    file,
    `import { parentPort } from 'node:worker_threads'
     const say = (report) => parentPort.postMessage(report)
     parentPort.on('message', async (task) => { ${work} })
     ${ready}`,
  )
  return new URL(`file://${file}`)
}
const FOUND = `say({ found: { contentType: 'audio/mp4', durationSeconds: 1, mediaCheck: 'ok' } })`
const byFirstBytes = { contentType: 'audio/mp4', durationSeconds: null, mediaCheck: 'ok' }

test.for([...AUDIO, ...VIDEO])(
  '$name: in a thread the same is found',
  async ({ name, contentType, durationSeconds }) => {
    const [file, size] = fixture(name)
    const found = await inspector().inspect(file, size, 'misnamed.wav')
    expect(found).toMatchObject({ contentType, mediaCheck: 'ok' })
    expect(found).not.toHaveProperty('givenUp')
    if (durationSeconds !== null) expect(found.durationSeconds).toBeCloseTo(durationSeconds, 0.9)
  },
)

test('plain WAVE needs no thread, and no thread is started before one is needed', async () => {
  const threads = inspector()
  expect(threads.threads).toBe(0)
  await threads.inspect(...fixture('tone.wav'), 'call.wav')
  expect(threads.threads).toBe(0)
  await threads.inspect(...fixture('tone.m4a'), 'call.m4a')
  expect(threads.threads).toBe(1)
})

test('a file that is gone is a fault of reading, with its errno', async () => {
  const file = fileOf(path.join(dir, 'gone'), fixtureBytes('tone.m4a'))
  await expect(inspector().inspect(file, 10_000, 'call.m4a')).rejects.toMatchObject({ code: 'ENOENT' })
})

describe('what becomes of a thread ends in an answer by the first bytes', () => {
  test.for([
    ['it never answers', 'for (;;);', undefined, 'deadline'],
    ['it never answers and never yields to its queue', 'for (;;) await null', undefined, 'deadline'],
    ['it never starts', '', 'for (;;);', 'deadline'],
    ['it fills its memory', 'const held = []; for (;;) held.push({ held: {} })', undefined, 'memory'],
    ['its code throws', "throw new Error('a fault')", undefined, 'crash'],
    ['its code throws what is no error', 'throw undefined', undefined, 'crash'],
    ['it exits', 'process.exit(3)', undefined, 'crash'],
    ['its code fails as it loads', '', "throw new Error('at load')", 'crash'],
    ['it exits as it loads', '', 'process.exit(0)', 'crash'],
    ['its code is no code', '', '}', 'crash'],
    ['its stack overflows', 'const deep = () => deep() + 1; deep()', undefined, 'crash'],
  ] as const)('%s', async ([name, work, ready, reason]) => {
    const threads = inspector({
      deadlineMs: reason === 'deadline' ? 500 : 55_000,
      script: await script(name.replaceAll(' ', '-'), work, ready),
    })
    const [file, size] = fixture('tone.m4a')
    // More than there are threads: those that wait are answered too. Memory takes its time to fill.
    const count = reason === 'memory' ? 2 : 6
    const found = await Promise.all(Array.from({ length: count }, () => threads.inspect(file, size, 'call.wav')))
    for (const each of found) expect(each).toMatchObject({ ...byFirstBytes, givenUp: { reason } })
    expect(threads.threads).toBeLessThanOrEqual(2)
  })

  test('its file is missing', async () => {
    const threads = inspector({ script: new URL(`file://${dir}/no-such.mjs`) })
    const found = await threads.inspect(...fixture('tone.m4a'), 'call.wav')
    expect(found).toMatchObject({ ...byFirstBytes, givenUp: { reason: 'crash' } })
  })
})

test('after a thread that failed the next file is looked into by another', async () => {
  const work = `if (task.filename === 'bad.m4a') process.exit(1); ${FOUND}`
  const threads = inspector({ script: await script('now-and-then', work) })
  const [file, size] = fixture('tone.m4a')
  const names = ['a.m4a', 'bad.m4a', 'b.m4a', 'bad.m4a', 'bad.m4a', 'c.m4a', 'd.m4a']
  const found = await Promise.all(names.map((name) => threads.inspect(file, size, name)))
  expect(found.map(({ givenUp }) => givenUp?.reason)).toEqual(
    names.map((name) => (name === 'bad.m4a' ? 'crash' : undefined)),
  )
})

test('the deadline counts from the asking: many files that never end are all answered when it is over', async () => {
  const threads = inspector({ deadlineMs: 800, script: await script('for-ever', 'for (;;);') })
  const startedAtMs = performance.now()
  const found = await Promise.all(Array.from({ length: 40 }, () => threads.inspect(...fixture('tone.m4a'), 'a.m4a')))
  expect(performance.now() - startedAtMs).toBeLessThan(2_500)
  expect(found.every(({ givenUp }) => givenUp?.reason === 'deadline')).toBe(true)
})

test('a file that never ends makes way for those that wait, long before its deadline', async () => {
  const work = `if (task.filename === 'bad.m4a') for (;;); ${FOUND}`
  const threads = inspector({ deadlineMs: 10_000, script: await script('bad-ones', work) })
  const [file, size] = fixture('tone.m4a')
  const startedAtMs = performance.now()
  const bad = ['bad.m4a', 'bad.m4a'].map((name) => threads.inspect(file, size, name))
  const good = await threads.inspect(file, size, 'good.m4a')
  expect(good).toMatchObject({ durationSeconds: 1 })
  expect(performance.now() - startedAtMs).toBeLessThan(8_000)
  await threads.close()
  expect((await Promise.all(bad)).map(({ givenUp }) => givenUp?.reason)).toContain('deadline')
})

test('an answer that came while this thread was busy beyond the deadline counts', async () => {
  const threads = inspector({ deadlineMs: 300, script: await script('quick', FOUND) })
  const [file, size] = fixture('tone.m4a')
  // The thread is there already.
  await expect.poll(async () => (await threads.inspect(file, size, 'a.m4a')).givenUp).toBeUndefined()
  const asked = threads.inspect(file, size, 'a.m4a')
  await null
  const until = performance.now() + 900
  while (performance.now() < until);
  expect(await asked).toMatchObject({ durationSeconds: 1 })
})

test('closing ends busy threads at once, and what is asked later is answered by its first bytes', async () => {
  const threads = inspector({ script: await script('busy', 'for (;;);') })
  const [file, size] = fixture('tone.m4a')
  const asked = Array.from({ length: 3 }, () => threads.inspect(file, size, 'a.m4a'))
  await expect.poll(() => threads.threads).toBe(2)
  await threads.close()
  await expect.poll(() => threads.threads).toBe(0)
  asked.push(threads.inspect(file, size, 'a.m4a'))
  for (const found of await Promise.all(asked)) expect(found).toMatchObject({ givenUp: { reason: 'closing' } })
  expect(threads.threads).toBe(0)
})

test.for(STALLS.filter(({ durationSeconds }) => durationSeconds !== undefined))(
  '$name: tags are left out, and the duration is told',
  async ({ bytes, filename, contentType, durationSeconds = 0 }) => {
    const body = bytes()
    const file = path.join(dir, 'stall')
    await writeFile(file, body)
    const found = await inspector().inspect(fileOf(file, body), body.length, filename)
    expect(found).toMatchObject({ contentType, mediaCheck: 'ok' })
    expect(found.durationSeconds).toBeCloseTo(durationSeconds, 0)
  },
)
