import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { keptSecret } from '../src/config/kept-secret.ts'
import { NODE } from './support/process.ts'
import { afterwards } from './support/service.ts'

async function folder(): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'secret-'))
  afterwards(() => rm(dir, { recursive: true }))
  return dir
}

test('a secret is made once, for its owner alone, and found again', async () => {
  const dir = await folder()
  const file = path.join(dir, 'secret')
  const made = await keptSecret(file)
  expect(made.length).toBeGreaterThanOrEqual(32)
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  expect(await keptSecret(file)).toEqual(made)
  expect(await readdir(dir)).toEqual(['secret'])
})

test.for(['', '\n'])(
  'a first start that died with an empty secret %j keeps no later one from starting',
  async (left) => {
    const file = path.join(await folder(), 'secret')
    await writeFile(file, left)
    await writeFile(`${file}.new`, 'half')
    const made = await keptSecret(file)
    expect((await readFile(file, 'utf8')).length).toBeGreaterThanOrEqual(32)
    expect(await keptSecret(file)).toEqual(made)
  },
)

test('a secret that is there and too short is an error, and stays', async () => {
  const file = path.join(await folder(), 'secret')
  await writeFile(file, 'short')
  await expect(keptSecret(file)).rejects.toThrow('shorter than 32 bytes')
  expect(await readFile(file, 'utf8')).toBe('short')
})

test('a secret that is a directory is told in one sentence, and so is one whose place can not be written to', async () => {
  const dir = await folder()
  await mkdir(path.join(dir, 'secret'))
  const told = {
    name: 'ConfigError',
    message: expect.stringMatching(/secret` can't be used \(EISDIR\): expected a file/),
  }
  await expect(keptSecret(path.join(dir, 'secret'))).rejects.toMatchObject(told)
  await mkdir(path.join(dir, 'other.new'))
  await expect(keptSecret(path.join(dir, 'other'))).rejects.toMatchObject({ name: 'ConfigError' })
})

const strace = spawnSync('strace', ['-V'])
test.skipIf(strace.status !== 0 && process.env.CI !== 'true')(
  'a made secret is on disk under its name before it is used: synced, renamed, and its folder synced',
  async () => {
    const dir = await folder()
    const trace = path.join(await folder(), 'trace')
    const script = `import { keptSecret } from './src/config/kept-secret.ts'; await keptSecret(process.argv[1])`
    const file = path.join(dir, 'secret')
    const call = ['-f', '-y', '-e', 'trace=write,pwrite64,fsync,fdatasync,rename', '-o', trace, NODE]
    const { status, stderr } = spawnSync('strace', [...call, '--input-type=module', '-e', script, file])
    expect(stderr.toString()).toBe('')
    expect(status).toBe(0)
    const steps = (await readFile(trace, 'utf8')).split('\n').flatMap((line) => {
      const name = /^\d+ +(\w+)\(/.exec(line)?.[1]
      return name && line.includes(dir)
        ? [`${name.replace('pwrite64', 'write')} ${line.includes('.new') ? 'new' : 'folder'}`]
        : []
    })
    expect(steps).toEqual(['write new', 'fsync new', 'rename new', 'fsync folder'])
  },
)
