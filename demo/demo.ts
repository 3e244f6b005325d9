/**
 * The service at work, for somebody who has just cloned it: a server of its own on a fresh data directory, a recording
 * sent through each door, one of them over a line that breaks, and the addresses to listen and try further.
 *
 * `--once` ends it when all has been shown; anything that goes wrong makes it fail.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { SignJWT } from 'jose'
import { Upload } from 'tus-js-client'
import { telephoneCall } from './telephone-call.ts'

const MIB = 1024 * 1024
const root = path.resolve(import.meta.dirname, '..')
const secret = 'the secret of a demonstration, of no use elsewhere'
const LEAD = 'lead-asha'
const CALLS = ['call-monday', 'call-tuesday', 'call-friday'] as const

const say = (line = '') => process.stdout.write(`${line}\n`)
/** Made for each recording, so that no answer that is lost makes two of it. */
const keyed = () => ({ 'idempotency-key': `"${randomUUID()}"` })
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const mib = (bytes: number) => `${(bytes / MIB).toFixed(1)} MiB`

/** A bar that redraws itself in a terminal, and is drawn once at its end elsewhere. */
function bar(label: string) {
  let last = ''
  return {
    show(done: number, total: number) {
      const width = 32
      const filled = Math.round((done / total) * width)
      const percent = String(Math.floor((done / total) * 100)).padStart(3)
      last = `   ${label} ${'█'.repeat(filled)}${'░'.repeat(width - filled)} ${percent} %  ${mib(done)} of ${mib(total)}`
      if (process.stdout.isTTY) process.stdout.write(`\r${last}`)
    },
    end(word = '') {
      say(`${process.stdout.isTTY ? '\r' : ''}${last}  ${word}`)
    },
  }
}

const token = (claims: Record<string, unknown>) =>
  new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt()
    .setExpirationTime('12h')
    .sign(new TextEncoder().encode(secret))

/** Starts the server as an operator would; resolves with its address. */
async function startServer(dataDir: string): Promise<{ url: string; child: ChildProcess }> {
  const child = spawn(process.execPath, [path.join(root, 'bin/call-recordings.js'), 'start', '--with-parent'], {
    env: {
      PATH: process.env.PATH,
      PORT: process.env.PORT,
      RECORDINGS_DATA_DIR: dataDir,
      RECORDINGS_JWT_SECRET: secret,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true, // Ctrl-C is ours to pass on
  })
  for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
    const entry = JSON.parse(line) as { level: string; msg: string; url?: string; err?: { message: string } }
    if (entry.msg === 'listening' && entry.url) {
      child.stdout?.resume()
      return { url: entry.url, child }
    }
    if (entry.level === 'fatal') throw new Error(entry.err ? `${entry.msg}: ${entry.err.message}` : entry.msg)
  }
  throw new Error('the server ended before it listened')
}

/** A telephone line between a client and the server, which can be cut. */
async function line(to: URL): Promise<{ url: string; cut(): void; close(): void }> {
  const open = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(Number(to.port), to.hostname)
    for (const [from, into] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(from)
      from.on('error', () => into.destroy()).on('close', () => open.delete(from) && into.destroy())
      from.pipe(into)
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const cut = () => {
    for (const socket of open) socket.resetAndDestroy()
  }
  const { port } = server.address() as { port: number }
  return {
    url: `http://127.0.0.1:${port}`,
    cut,
    close() {
      server.close()
      cut()
    },
  }
}

async function answer(response: Response, expected: number): Promise<Record<string, string>> {
  const text = await response.text()
  if (response.status !== expected) throw new Error(`${response.url} answered ${response.status}: ${text}`)
  return text === '' ? {} : JSON.parse(text)
}

async function show(url: string, dataDir: string): Promise<void> {
  const telecaller = await token({ sub: 'telecaller-ravi' })
  const crm = await token({ sub: 'crm', role: 'service' })
  const asTelecaller = { authorization: `Bearer ${telecaller}` }
  const asJson = { ...asTelecaller, 'content-type': 'application/json' }
  const lead = `${url}/api/leads/${LEAD}`

  const write = (address: string, body: unknown) =>
    fetch(address, {
      method: 'PUT',
      headers: { authorization: `Bearer ${crm}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  await answer(await write(lead, { telecaller_id: 'telecaller-ravi', name: 'Asha Verma' }), 201)
  for (const call of CALLS) await answer(await write(`${lead}/call-logs/${call}`, { direction: 'outbound' }), 201)
  say(`The CRM has written a lead (${LEAD}) of telecaller Ravi, and ${CALLS.length} calls with her.`)

  const call = telephoneCall(45)
  const file = path.join(dataDir, 'call.wav')
  await writeFile(file, call)

  say()
  say('1. tus, 1 MiB chunks, over a line that breaks')
  const phoneLine = await line(new URL(url))
  const progress = bar('sending')
  const options = {
    chunkSize: MIB,
    headers: { ...asTelecaller, ...keyed() },
    metadata: { filename: 'Asha, Monday.wav', call_log_id: CALLS[0], filetype: 'audio/wav' },
    uploadSize: call.length,
    retryDelays: null,
  }
  const uploadUrl = await new Promise<string>((resolve, reject) => {
    const upload: Upload = new Upload(createReadStream(file), {
      ...options,
      endpoint: `${phoneLine.url}/api/leads/${LEAD}/uploads`,
      onProgress: (sent, total) => {
        progress.show(sent, total ?? call.length)
        if (sent > call.length / 2) phoneLine.cut()
      },
      onError: () => resolve(upload.url as string),
      onSuccess: () => reject(new Error('the line was to break')),
    })
    upload.start()
  })
  progress.end('the line is cut')
  phoneLine.close()
  const direct = `${url}${new URL(uploadUrl).pathname}`
  const head = await fetch(direct, { method: 'HEAD', headers: { ...asTelecaller, 'tus-resumable': '1.0.0' } })
  say(`   the server has ${head.headers.get('upload-offset')} of ${head.headers.get('upload-length')} bytes, on disk`)
  const rest = bar('resumed')
  const recordingUrl = await new Promise<string>((resolve, reject) => {
    new Upload(createReadStream(file), {
      ...options,
      uploadUrl: direct,
      onProgress: (sent, total) => rest.show(sent, total ?? call.length),
      onError: reject,
      onSuccess: ({ lastResponse }) => resolve(lastResponse.getHeader('Content-Location') as string),
    }).start()
  })
  rest.end('stored')

  say()
  say('2. the JSON chunk actions of older clients')
  const chunks = `${lead}/recordings`
  const act = (body: unknown, headers = {}) =>
    fetch(chunks, { method: 'POST', headers: { ...asJson, ...headers }, body: JSON.stringify(body) })
  const begun = await answer(
    await act({ action: 'init', filename: 'tuesday.wav', call_log_id: CALLS[1] }, keyed()),
    201,
  )
  const total = Math.ceil(call.length / MIB)
  const chunked = bar('sending')
  for (let i = 0; i < total; i++) {
    const chunk = call.subarray(i * MIB, (i + 1) * MIB).toString('base64')
    await answer(await act({ action: 'append', upload_id: begun.upload_id, chunk_index: i, chunk }), 202)
    chunked.show(Math.min(call.length, (i + 1) * MIB), call.length)
  }
  const finalize = { action: 'finalize', upload_id: begun.upload_id, total_chunks: total, call_log_id: CALLS[1] }
  const second = await answer(await act(finalize), 200)
  chunked.end('stored')

  say()
  say('3. a plain form')
  const form = new FormData()
  form.append('file', new Blob([new Uint8Array(call)], { type: 'audio/wav' }), 'friday.wav')
  form.append('call_log_id', CALLS[2])
  const asNew = { ...asTelecaller, ...keyed() }
  const third = await answer(await fetch(chunks, { method: 'POST', headers: asNew, body: form }), 200)
  say(`   stored as ${third.path}`)

  say()
  say('What the service knows of the first one')
  const details = await answer(await fetch(`${recordingUrl}/details`, { headers: asTelecaller }), 200)
  for (const name of ['path', 'content_type', 'size', 'duration_seconds', 'sha256'] as const) {
    say(`   ${name.padEnd(17)} ${details[name]}`)
  }
  if ([details.sha256, second.sha256, third.sha256].some((hash) => hash !== sha256(call))) {
    throw new Error('a recording is not what was sent')
  }
  const range = await fetch(recordingUrl, { headers: { ...asTelecaller, range: 'bytes=1000000-1999999' } })
  const heard = new Uint8Array(await range.arrayBuffer())
  if (range.status !== 206 || sha256(heard) !== sha256(call.subarray(1_000_000, 2_000_000))) {
    throw new Error('the range played back is not what was sent')
  }
  say(`   ${range.status} for ${range.headers.get('content-range')}: the same bytes that were sent`)

  const link = await answer(
    await fetch(`${recordingUrl}/playback-links`, {
      method: 'POST',
      headers: asJson,
      body: JSON.stringify({ expires_in_seconds: 3600 }),
    }),
    201,
  )
  say()
  say('Listen in a browser, for the next hour:')
  say(`   ${link.url}`)
  say()
  say('Try it with curl, as the telecaller:')
  say(`   TOKEN=${telecaller}`)
  say(`   curl -H "Authorization: Bearer $TOKEN" ${chunks}`)
  say(`   KEY='"${randomUUID()}"'`)
  const twoHeaders = '-H "Authorization: Bearer $TOKEN" -H "Idempotency-Key: $KEY"'
  say(`   curl ${twoHeaders} -F file=@YOUR.mp3 -F call_log_id=${CALLS[2]} ${chunks}`)
}

const dataDir = await mkdtemp(path.join(tmpdir(), 'call-recordings-demo-'))
let child: ChildProcess | undefined
let ended: Promise<unknown> | undefined
try {
  const server = await startServer(dataDir)
  child = server.child
  ended = once(child, 'exit')
  say(`The server listens on ${server.url}; its data is in ${dataDir}.`)
  await show(server.url, dataDir)
  say()
  if (!process.argv.includes('--once')) {
    say('The server stays up until Ctrl-C.')
    await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM'), ended])
  }
} catch (error) {
  say(`\nThe demonstration failed: ${(error as Error).message}`)
  process.exitCode = 1
} finally {
  child?.kill('SIGTERM')
  await ended
  if (child && child.exitCode !== 0) process.exitCode = 1
  await rm(dataDir, { recursive: true, force: true })
}
