/** The rules that deploy/Dockerfile keeps, as far as a machine without Docker can tell; test/faults/image.test.ts runs what it holds. */
import { existsSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { imageOf } from './support/image.ts'

const image = imageOf(readFileSync('deploy/Dockerfile', 'utf8'))

test('it is built in a stage of its own: the compiler and the packages of development stay there', () => {
  expect(image.stages).toHaveLength(2)
  const [build, last] = image.stages
  expect(build?.instructions.some(({ words }) => /npm ci/.test(words))).toBe(true)
  for (const { name, words } of last?.instructions ?? []) if (name === 'RUN') expect(words).not.toMatch(/apt-get|npm/)
})

test('each stage begins with an image of a named version', () => {
  for (const { from } of image.stages) expect(from).toMatch(/^node:24[\w.-]*$/)
})

test('it runs as a user without rights, and what it runs is not theirs to change', () => {
  expect(image.user).toBe('node')
  expect(image.copies.filter(({ words }) => words.includes('--chown'))).toEqual([])
})

test('it keeps what it has in a volume, and listens where the world can reach it', () => {
  expect(image.volumes).toEqual([image.env.RECORDINGS_DATA_DIR])
  expect(image.env).toMatchObject({ NODE_ENV: 'production', HOST: '0.0.0.0' })
  expect(image.exposed).toBe(image.env.PORT)
})

test('it says how its health is asked, and signals reach the server itself', () => {
  expect(image.healthcheck.options).toMatch(/--interval=\d+s --timeout=\d+s --start-period=\d+s/)
  expect(image.healthcheck.command[0]).toBe('node')
  // In the form of a list: no shell stands between.
  expect(image.command[0]).toBe('node')
  expect(image.command.at(-1)).toBe('start')
})

test('what it copies from the project is there, and is let through by .dockerignore', () => {
  const let_through = readFileSync('.dockerignore', 'utf8').match(/(?<=^!).+$/gm) ?? []
  const build = image.stages[0]?.instructions.filter(({ name }) => name === 'COPY') ?? []
  const own = [...build, ...image.copies].filter(({ words }) => !words.startsWith('--from'))
  for (const source of own.flatMap(({ words }) => words.split(' ').slice(0, -1))) {
    expect(existsSync(source), source).toBe(true)
    expect(let_through).toContain(source)
  }
})
