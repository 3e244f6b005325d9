import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'

const COMMAND = path.resolve('bin/call-recordings.js')

/** The machine's own Node: the first on the PATH that is not of this project, if it is too old to run it. */
const oldNode = (process.env.PATH ?? '')
  .split(path.delimiter)
  .filter((directory) => !directory.includes('node_modules'))
  .map((directory) => path.join(directory, 'node'))
  .filter((file) => existsSync(file))
  .slice(0, 1)
  .find((file) => {
    const [major = 0, minor = 0] = execFileSync(file, ['-p', 'process.versions.node'], { encoding: 'utf8' })
      .split('.')
      .map(Number)
    return major < 22 || (major === 22 && minor < 18)
  })

const needsOldNode = test.skipIf(oldNode === undefined)
if (oldNode === undefined) console.warn('skipped: the Node of this machine is not older than 22.18')

needsOldNode('an older Node is told in one line which one is needed, and where it lies', () => {
  const { status, stdout, stderr } = spawnSync(oldNode as string, [COMMAND, 'start'], { encoding: 'utf8' })
  expect(stderr).toMatch(/^call-recordings needs Node 22\.18 or newer; this is v[\d.]+ \(\S+\)\. .*`npm start`.*\n$/)
  expect(stdout).toBe('')
  expect(status).toBe(1)
})

needsOldNode('nothing is said of a Node beside it where there is none', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'old-node-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  cpSync(COMMAND, path.join(folder, 'bin/call-recordings.js'))
  writeFileSync(path.join(folder, 'package.json'), '{ "type": "module" }')
  const { status, stderr } = spawnSync(oldNode as string, ['bin/call-recordings.js'], { cwd: folder, encoding: 'utf8' })
  expect(stderr).toMatch(/^call-recordings needs Node 22\.18 or newer; this is v[\d.]+ \(\S+\)\.\n$/)
  expect(status).toBe(1)
})
