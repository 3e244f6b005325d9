/** The code of docs/clients.md, as it stands, over a line that loses requests and answers, and a server that restarts. */
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { Upload } from 'tus-js-client'
import { describe, expect, test } from 'vitest'
import { afterwards, jsonOf, SECRET, startService } from './support/service.ts'
import { noise } from './support/tus.ts'

const harness = await startService({ env: { RECORDINGS_CHUNK_SIZE: '100KiB' } })

interface Options {
  uploadsUrl: string
  recordingsUrl: string
  filename: string
  callLogId: string
  key: string
  getToken(): Promise<string>
}
interface Clients {
  uploadOverTus(file: Buffer, options: Options): Promise<string>
  uploadInChunks(bytes: Uint8Array, options: Options): Promise<{ id: string }>
  uploadInOneForm(file: Blob, options: Options): Promise<{ id: string }>
}

const page = readFileSync(new URL('../docs/clients.md', import.meta.url), 'utf8')
const section = page.slice(page.indexOf('## Uploading a recording'), page.indexOf('## Playing a recording'))
const code = Array.from(section.matchAll(/```js\n(.*?)```/gs), ([, block]) => block)
  .join('\n')
  .replace(/^import .*$/m, '')

/** The functions of the page, with a line that this test is in charge of, and no patience. */
function clientsOver(line: typeof fetch): Clients {
  const names = 'uploadOverTus, uploadInChunks, uploadInOneForm'
  const make = new Function('fetch', 'setTimeout', 'Upload', `${code}\nreturn { ${names} }`)
  return make(line, (work: () => void) => setTimeout(work, 5), Upload) as Clients
}

/** Of every five requests one never arrives, one loses its answer, and one is answered 503. */
function badLine(): typeof fetch {
  let count = 0
  return async (url, init) => {
    count++
    if (count % 5 === 1) throw new TypeError('fetch failed')
    if (count % 5 === 3) return new Response('', { status: 503 })
    const res = await fetch(url, init)
    if (count % 5 === 4) {
      await res.arrayBuffer()
      throw new TypeError('fetch failed')
    }
    return res
  }
}

async function optionsFor(lead: Awaited<ReturnType<typeof harness.lead>>): Promise<Options> {
  return {
    uploadsUrl: lead.uploads,
    recordingsUrl: lead.recordings,
    filename: 'Anruf 1.aac',
    callLogId: lead.callLogId,
    key: randomUUID(),
    getToken: async () => harness.tokens.telecaller,
  }
}

async function expectOnce(lead: Awaited<ReturnType<typeof harness.lead>>, id: string, bytes: Buffer) {
  const list = await jsonOf(await harness.api('GET', lead.recordings))
  expect((list.recordings as { id: string }[]).map((recording) => recording.id)).toEqual([id])
  const played = await harness.api('GET', `${lead.recordings}/${id}`)
  expect(Buffer.from(await played.arrayBuffer()).equals(bytes)).toBe(true)
}

describe('over a bad line', () => {
  test('chunks of JSON become one recording, also from an app that starts again', async () => {
    const lead = await harness.lead()
    const options = await optionsFor(lead)
    const bytes = noise(550_000)
    const { uploadInChunks } = clientsOver(badLine())
    const first = await uploadInChunks(bytes, options)
    await expectOnce(lead, first.id, bytes)
    const again = await uploadInChunks(bytes, options)
    expect(again).toEqual(first)
  })

  test('one form becomes one recording', async () => {
    const lead = await harness.lead()
    const options = await optionsFor(lead)
    const bytes = noise(550_000)
    const { uploadInOneForm } = clientsOver(badLine())
    const first = await uploadInOneForm(new Blob([bytes]), options)
    await expectOnce(lead, first.id, bytes)
    expect(await uploadInOneForm(new Blob([bytes]), options)).toEqual(first)
  })

  test('a failure that is final is told in its own words', async () => {
    const lead = await harness.lead()
    const options = { ...(await optionsFor(lead)), callLogId: 'unknown' }
    const { uploadInChunks, uploadInOneForm } = clientsOver(badLine())
    await expect(uploadInChunks(noise(10), options)).rejects.toThrow('There is no such call log')
    await expect(uploadInOneForm(new Blob([noise(10)]), options)).rejects.toThrow('There is no such call log')
  })
})

describe('the README', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const clients = readme.slice(readme.indexOf('## A token, a lead, a call'), readme.indexOf('## Routes'))
  const [overTus = '', inChunks = ''] = Array.from(clients.matchAll(/```js\n(.*?)```/gs), ([, block]) => block)
  const AsyncFunction = (async () => {}).constructor as FunctionConstructor
  const run = (block: string, values: Record<string, unknown>) =>
    new AsyncFunction(...Object.keys(values), block)(...Object.values(values)) as Promise<unknown>
  const bytes = noise(250_000)

  test('shows three clients that can be run again from their beginning: each has one recording', async () => {
    const common = { server: harness.url, token: harness.tokens.telecaller }
    const viaTus = await harness.lead()
    const viaChunks = await harness.lead()
    const tusValues = { ...common, leadId: viaTus.leadId, callLogId: viaTus.callLogId, key: randomUUID(), file: bytes }
    const chunkValues = {
      ...common,
      leadId: viaChunks.leadId,
      call_log_id: viaChunks.callLogId,
      key: randomUUID(),
      bytes,
    }
    const told = new Set<unknown>()
    for (const _ of ['first', 'again']) {
      const id = await new Promise((resolve) => {
        void run(overTus, { ...tusValues, tus: { Upload }, console: { log: resolve } })
      })
      told.add(id)
      await run(inChunks, chunkValues)
    }
    expect(told.size).toBe(1)
    await expectOnce(viaTus, [...told][0] as string, bytes)
    const list = await jsonOf(await harness.api('GET', viaChunks.recordings))
    expect(list.recordings).toHaveLength(1)
  })

  test('tells an error answer of the JSON client in its own words', async () => {
    const { leadId } = await harness.lead()
    const values = { server: harness.url, token: harness.tokens.telecaller, leadId, key: randomUUID(), bytes }
    await expect(run(inChunks, { ...values, call_log_id: 'unknown' })).rejects.toThrow(
      'call_log_not_found: There is no',
    )
  })

  test('shows commands that sign a token, write a lead and a call, and send a form', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'readme-'))
    afterwards(() => rm(folder, { recursive: true }))
    for (const name of ['bin', 'drizzle', 'node_modules', 'package.json', 'src']) {
      await symlink(path.resolve(name), path.join(folder, name))
    }
    await mkdir(path.join(folder, 'data'))
    await writeFile(path.join(folder, 'data/jwt-secret'), SECRET)
    await writeFile(path.join(folder, 'call.mp3'), bytes)
    const commands = Array.from(clients.matchAll(/```sh\n(.*?)```/gs), ([, block]) => block)
    expect(commands).toHaveLength(3)
    const script = commands.join('\n').replace('http://127.0.0.1:3000', harness.url)
    const { PATH = '' } = process.env
    await promisify(execFile)('sh', ['-e', '-c', script], { cwd: folder, env: { PATH } })
    const list = await jsonOf(
      await harness.api('GET', '/api/leads/rao/recordings?call_log_id=rao-1', { token: harness.tokens.supervisor }),
    )
    expect(list.recordings).toMatchObject([{ filename: 'call.mp3', telecaller_id: 'asha', size: bytes.length }])
  })
})

describe('over tus', () => {
  test('a recording goes on where it was, from an app that has forgotten everything but its key', async () => {
    const lead = await harness.lead()
    const options = await optionsFor(lead)
    const bytes = noise(300_000)
    const { uploadOverTus } = clientsOver(fetch)
    const created = await fetch(lead.uploads, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${harness.tokens.telecaller}`,
        'tus-resumable': '1.0.0',
        'upload-length': '300000',
        'upload-metadata': `filename ${btoa('Anruf 1.aac')},call_log_id ${btoa(lead.callLogId)}`,
        'idempotency-key': `"${options.key}"`,
        'content-type': 'application/offset+octet-stream',
      },
      body: bytes.subarray(0, 120_000),
    })
    expect(created.headers.get('upload-offset')).toBe('120000')
    const id = await uploadOverTus(bytes, options)
    await expectOnce(lead, id, bytes)
    expect(await uploadOverTus(bytes, options)).toBe(id)
    await expectOnce(lead, id, bytes)
  })
})
