/**
 * This server, started as `npm start` starts it, and the operations of a telecaller's client.
 */
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { SignJWT } from 'jose'
import { type Answer, Connection } from './connection.ts'
import { type Abilities, type Contestant, removeFiles } from './contestant.ts'
import { freePort, type Running, start } from './processes.ts'
import { base64, chunks, form, playback, tus } from './protocols.ts'

/** `BENCH_OURS`: another copy of this server, such as what `npm pack` made. */
const root = process.env.BENCH_OURS ?? path.resolve(import.meta.dirname, '..')
const SECRET = 'the secret of a bench, of no use elsewhere'
export const LEAD = 'lead-of-the-bench'
export const CALL = 'call-of-the-bench'
export const TELECALLER = 'telecaller-of-the-bench'
const UPLOADS = `/api/leads/${LEAD}/uploads`
export const RECORDINGS = `/api/leads/${LEAD}/recordings`
const METADATA = `filename ${base64('call.wav')},call_log_id ${base64(CALL)}`

type Headers = Record<string, string>

async function bearer(claims: Record<string, unknown>): Promise<Headers> {
  const jwt = new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('1d')
  return { Authorization: `Bearer ${await jwt.sign(new TextEncoder().encode(SECRET))}` }
}

export const asTelecaller = () => bearer({ sub: TELECALLER })
export const asSupervisor = () => bearer({ sub: 'supervisor-of-the-bench', role: 'supervisor' })

function startArguments(): string[] {
  const { scripts } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { scripts: Headers }
  const [command, ...words] = (scripts.start ?? '').replace(/^exec /, '').split(' ')
  if (command !== 'node') throw new Error(`npm start does not run node but ${command}`)
  return words
}

/** It listens before it is. */
async function untilReady(port: number): Promise<void> {
  for (;;) {
    const probe = new Connection(port)
    const { status } = await probe.request({ method: 'GET', path: '/readyz' })
    probe.close()
    if (status === 200) return
    await sleep(20)
  }
}

/** Starts the server; a lead with one call log is there for the telecaller to upload to. */
export async function startOurs(
  dataDir: string,
  { tellsLoopDelay = false, env = {} }: { tellsLoopDelay?: boolean; env?: Headers } = {},
): Promise<Running> {
  const port = await freePort()
  const preloaded = tellsLoopDelay ? ['--import', path.join(import.meta.dirname, 'loop-delay.ts')] : []
  const running = await start([process.execPath, ...preloaded, ...startArguments()], {
    port,
    cwd: root,
    hasChannel: tellsLoopDelay,
    env: {
      HOST: '127.0.0.1',
      PORT: String(port),
      // The peers log nothing.
      LOG_LEVEL: process.env.LOG_LEVEL ?? 'warn',
      RECORDINGS_DATA_DIR: dataDir,
      RECORDINGS_JWT_SECRET: SECRET,
      // One telecaller sends them all.
      RECORDINGS_MAX_UPLOADS_PER_CALLER: '4000',
      ...env,
    },
  })
  await untilReady(port)
  const connection = new Connection(port)
  const headers = { ...(await bearer({ sub: 'crm', role: 'service' })), 'Content-Type': 'application/json' }
  const put = async (address: string, fields: object) => {
    const { status } = await connection.request({ method: 'PUT', path: address, headers, body: json(fields) })
    if (status !== 200 && status !== 201) throw new Error(`PUT ${address} answered ${status}`)
  }
  await put(`/api/leads/${LEAD}`, { telecaller_id: TELECALLER })
  await put(`/api/leads/${LEAD}/call-logs/${CALL}`, {})
  connection.close()
  return running
}

const json = (fields: object) => Buffer.from(JSON.stringify(fields))
const fieldsOf = ({ body }: Answer) => JSON.parse(body.toString()) as Headers

export async function abilitiesOfOurs(port: number, dataDir: string, media: Buffer): Promise<Required<Abilities>> {
  const headers = await asTelecaller()
  const inJson = { ...headers, 'Content-Type': 'application/json' }
  const post = (connection: Connection, status: number, body: Buffer) =>
    connection.ask(status, { method: 'POST', path: RECORDINGS, headers: inJson, body, keep: true })
  const fileOf = ({ path: relative = '' }: Headers) => path.join(dataDir, 'recordings', relative)

  const uploads = tus(UPLOADS, headers, METADATA, async (connection, completed) => {
    const id = completed.headers['recording-id']
    if (!id) throw new Error('an upload was completed without a Recording-Id')
    const details = { method: 'GET', path: `${RECORDINGS}/${id}/details`, headers, keep: true }
    return fileOf(fieldsOf(await connection.ask(200, details)))
  })

  async function played() {
    const connection = new Connection(port)
    const { headers: told } = await connection.ask(201, {
      method: 'POST',
      path: UPLOADS,
      headers: {
        ...headers,
        'Tus-Resumable': '1.0.0',
        'Upload-Length': media.length,
        'Upload-Metadata': METADATA,
        'Content-Type': 'application/offset+octet-stream',
      },
      body: media,
    })
    connection.close()
    return playback(`${RECORDINGS}/${told['recording-id']}`, headers, media)
  }

  return {
    ...uploads,
    form: (body) =>
      form({ path: RECORDINGS, headers, status: 200, fields: { call_log_id: CALL } }, body, async (_, completed) =>
        fileOf(fieldsOf(completed)),
      ),
    chunks: (body) =>
      chunks(
        {
          async begin(connection) {
            const init = json({ action: 'init', filename: 'call.wav', call_log_id: CALL })
            return fieldsOf(await post(connection, 201, init)).upload_id as string
          },
          async append(connection, id, index, chunk) {
            const head = `{"action":"append","upload_id":"${id}","chunk_index":${index},"chunk":"`
            await post(connection, 202, Buffer.concat([Buffer.from(head), chunk, Buffer.from('"}')]))
          },
          async fileOf(connection, id, count) {
            const finalize = json({ action: 'finalize', upload_id: id, total_chunks: count, call_log_id: CALL })
            return fileOf(fieldsOf(await post(connection, 200, finalize)))
          },
        },
        body,
      ),
    ranges: async () => (await played()).ranges(),
    whole: async () => (await played()).whole(),
  }
}

const oursWith = (name: string, settings: () => Promise<Headers>): Contestant => ({
  name,
  async start({ dir, media }) {
    const running = await startOurs(dir, { env: await settings() })
    return {
      running,
      can: await abilitiesOfOurs(running.port, dir, media),
      sweep() {
        for (const folder of ['uploads', 'recordings']) removeFiles(path.join(dir, folder))
      },
    }
  },
})

/** Outside production, where metrics are on. */
export const ours = oursWith('ours', async () => ({}))
/** Measures nothing. */
export const unmeasured = oursWith('without metrics', async () => ({
  NODE_ENV: 'production',
  RECORDINGS_CORS_ORIGINS: '*',
}))
/** Posts its traces to a collector that throws them away. */
export const oursTraced: Contestant = {
  ...oursWith('ours with traces', async () => {
    const collector = createServer((req, res) => void req.resume().once('end', () => res.end('{}')))
    collector.listen(0, '127.0.0.1').unref()
    await once(collector, 'listening')
    return { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}` }
  }),
  missing: () =>
    existsSync(path.join(root, 'node_modules/@opentelemetry/api')) ? undefined : 'its packages are not installed',
}
