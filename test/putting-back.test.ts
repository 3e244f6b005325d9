/** docs/deploying.md: a damaged file is found, and put back from the backup by the commands that stand there. */
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { runCommand, startProcess } from './support/process.ts'
import { record } from './support/recordings.ts'
import { afterwards, jsonOf } from './support/service.ts'
import { shellOf } from './support/snippets.ts'

test('a file whose bytes have changed is named, put back beside the running server, and plays', async () => {
  const server = await startProcess()
  const { url } = await record(server, '0123456789')
  const { path: file } = (await jsonOf(await server.api('GET', `${url}/details`))) as { path: string }
  const folder = await mkdtemp(path.join(tmpdir(), 'backup-'))
  afterwards(() => rm(folder, { recursive: true }))
  const backup = path.join(folder, 'copy')
  expect(await runCommand(['backup', backup], { dir: server.dir })).toMatchObject({ code: 0 })

  // As a disk does: in place, the length kept.
  await rm(path.join(server.dir, 'recordings', file))
  await writeFile(path.join(server.dir, 'recordings', file), '01234x6789')
  const found = await runCommand(['verify'], { dir: server.dir })
  expect(found).toMatchObject({ code: 1, stdout: expect.stringContaining(`(${file}) has SHA-256`) })

  for (const block of shellOf('docs/deploying.md', '## Putting a damaged file back')) {
    const env = { PATH: process.env.PATH, FILE: file, BACKUP: backup, RECORDINGS: path.join(server.dir, 'recordings') }
    execFileSync('bash', ['-euo', 'pipefail', '-c', block], { env, stdio: ['ignore', 'ignore', 'inherit'] })
  }
  expect(await runCommand(['verify'], { dir: server.dir })).toMatchObject({ code: 0 })
  expect(await (await server.api('GET', url)).text()).toBe('0123456789')
})
