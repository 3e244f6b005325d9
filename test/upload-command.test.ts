/** `call-recordings upload` and `list`, against a real server. */
import { execFileSync } from 'node:child_process'
import { createHash, generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { type ListOptions, list } from '../src/commands/list.ts'
import { type UploadOptions, upload } from '../src/commands/upload-files.ts'
import { uploadOne } from '../src/commands/upload-one.ts'
import { readConfig } from '../src/config/config.ts'
import { cuttingProxy } from './support/cutting-proxy.ts'
import { freePort } from './support/ports.ts'
import { runCommand } from './support/process.ts'
import { record } from './support/recordings.ts'
import { said } from './support/said.ts'
import { afterwards, jsonOf, startService, type TestLead } from './support/service.ts'
import { noise, tusClient } from './support/tus.ts'

const server = await startService()
const folder = await mkdtemp(path.join(tmpdir(), 'upload-'))
afterwards(() => rm(folder, { recursive: true, force: true }))

async function fileOf(name: string, bytes: Buffer): Promise<string> {
  const file = path.join(folder, name)
  await mkdir(path.dirname(file), { recursive: true })
  await writeFile(file, bytes)
  return file
}

const noSettings = () => {
  throw new Error('no setting is needed')
}

async function uploaded(options: Partial<UploadOptions>, settings: Parameters<typeof upload>[0] = noSettings) {
  const output = said()
  const all = {
    words: [],
    parallel: 3,
    dryRun: false,
    yes: false,
    delaysMs: [10, 20, 30],
    server: server.url,
    token: server.tokens.crm,
  }
  const code = await upload(settings, { ...all, ...options }, output)
  return { code, lines: output.lines, items: output.items, sums: output.sums }
}

const recordingsOf = async (lead: TestLead) =>
  (await jsonOf(await server.api('GET', lead.recordings))).recordings as {
    id: string
    filename: string
    sha256: string
  }[]
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const told = (lead: TestLead) => ({ lead: lead.leadId, callLog: lead.callLogId })

describe('upload', () => {
  test('names the file that can’t be read, and no server that does not answer', async () => {
    const to = { server: new URL(server.url), token: async () => server.tokens.crm, delaysMs: [] }
    // What a name leads to can change once it was looked at.
    const of = { file: folder, leadId: 'any', callLogId: 'any' }
    await expect(uploadOne(to, of, () => {})).rejects.toMatchObject({
      name: 'NotUploaded',
      message: "it can't be read (EISDIR)",
      forAll: false,
    })
  })

  test('stores a file, and sends nothing again the next time, nor under another name', async () => {
    const lead = await server.lead()
    const bytes = noise(3_000_000)
    const file = await fileOf('एक call.wav', bytes)
    const first = await uploaded({ words: [file], ...told(lead) })
    const [recording] = await recordingsOf(lead)
    expect(recording).toMatchObject({ filename: 'एक call.wav', sha256: sha256(bytes) })
    expect(first).toMatchObject({ code: 0, sums: { uploaded: 1, there: 0, failed: 0, bytes: bytes.length } })
    expect(first.items).toEqual([expect.objectContaining({ type: 'uploaded', recording_id: recording?.id })])
    const again = await uploaded({ words: [file], ...told(lead) })
    expect(again).toMatchObject({ code: 0, sums: { uploaded: 0, there: 1, failed: 0, bytes: 0 } })
    await rename(file, path.join(folder, 'renamed.wav'))
    const renamed = await uploaded({ words: [path.join(folder, 'renamed.wav')], ...told(lead) })
    expect(renamed).toMatchObject({ code: 0, sums: { uploaded: 0, there: 1, failed: 0, bytes: 0 } })
    expect(renamed.items).toEqual([expect.objectContaining({ type: 'there', recording_id: recording?.id })])
    expect(await recordingsOf(lead)).toHaveLength(1)
  })

  test('says of a file whose bytes are on their way under another name that they are', async () => {
    const lead = await server.lead()
    const bytes = noise(1_000)
    const digest = sha256(bytes)
    const key = createHash('sha256').update(`${digest} ${lead.leadId} ${lead.callLogId}`).digest('base64url')
    const begun = await fetch(`${server.url}/api/leads/${lead.leadId}/uploads`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${server.tokens.crm}`,
        'tus-resumable': '1.0.0',
        'upload-length': String(bytes.length),
        'upload-metadata': `filename ${btoa('first.wav')},call_log_id ${btoa(lead.callLogId)}`,
        'idempotency-key': `"${key}"`,
      },
    })
    expect(begun.status).toBe(201)
    const result = await uploaded({ words: [await fileOf('second.wav', bytes)], ...told(lead) })
    expect(result).toMatchObject({
      code: 1,
      items: [{ type: 'failed', passing: false, reason: expect.stringMatching(/on their way .* another file name/) }],
    })
    expect(await recordingsOf(lead)).toEqual([])
  })

  test('takes a folder by what its names say, several at once; tells what failed and what is no recording', async () => {
    const leads = [await server.lead(), await server.lead()]
    for (const [i, { leadId, callLogId }] of leads.entries())
      await fileOf(`a/${leadId}/${callLogId}.wav`, noise(100_000 + i))
    await fileOf('a/notes.txt', noise(1))
    await fileOf('a/loose.wav', noise(10))
    await fileOf('a/nobody/call.wav', noise(10))
    await fileOf(`a/${leads[0]?.leadId}/${leads[1]?.callLogId}.wav`, noise(10))
    await fileOf(`a/${leads[0]?.leadId}/empty.wav`, noise(0))
    const words = [path.join(folder, 'a')]
    const pattern = '{lead}/{call_log}.{ext}'
    const trial = await uploaded({ words, pattern, dryRun: true, token: undefined })
    expect(trial.sums).toEqual({ to_upload: 5, failed: 1, passed_over: 1 })
    const result = await uploaded({ words, pattern })
    expect(result).toMatchObject({ code: 1, sums: { uploaded: 2, failed: 4, passed_over: 1, not_tried: 0 } })
    const reasons = Object.fromEntries(
      result.items
        .filter(({ type }) => type === 'failed')
        .map(({ file, reason }) => [path.basename(String(file)), reason]),
    )
    expect(reasons).toEqual({
      'loose.wav': expect.stringMatching(/not of the form \{lead\}/),
      'call.wav': expect.stringMatching(/answers 404: lead_not_found/),
      [`${leads[1]?.callLogId}.wav`]: expect.stringMatching(/answers 404: call_log_not_found/),
      'empty.wav': 'it is empty',
    })
    for (const lead of leads) expect(await recordingsOf(lead)).toHaveLength(1)
  })

  test.for([
    ['{lead}_{call_log}.{ext}', 'l_c.mp3', { leadId: 'l', callLogId: 'c' }],
    ['{lead}_{call_log}.{ext}', 'l_c_d.mp3', 'its name can be read as'],
    ['{lead}.{call_log}.{ext}', 'l_a-b.c_d.mp3', { leadId: 'l_a-b', callLogId: 'c_d' }],
    ['{any} {call_log}.{ext}', 'Asha 2026 c-1.wav', { leadId: 'given', callLogId: 'c-1' }],
    ['rec({lead}+{call_log}).wav', 'rec(l+c).wav', { leadId: 'l', callLogId: 'c' }],
    ['{lead}/{call_log}.{ext}', 'l.wav', 'its name is not of the form'],
  ] as const)('reads %s of %s', async ([pattern, name, expected]) => {
    const file = await fileOf(`names/${name}`, noise(1))
    const { items } = await uploaded({ words: [file], pattern, lead: 'given', dryRun: true })
    if (typeof expected === 'string')
      expect(items).toMatchObject([{ type: 'failed', reason: expect.stringContaining(expected) }])
    else expect(items).toMatchObject([{ type: 'to_upload', lead_id: expected.leadId, call_log_id: expected.callLogId }])
  })

  test('goes on over a line that breaks off, and in another run after it gave up', async () => {
    const lead = await server.lead()
    const bytes = noise(8_000_000)
    const file = await fileOf('long.wav', bytes)
    let sent = 0
    const cut = await cuttingProxy(
      () => server.url,
      () => 2_000_000,
    )
    const first = await uploaded({
      words: [file],
      ...told(lead),
      server: new URL(cut.through(lead.uploads)).origin,
      delaysMs: [],
    })
    expect(first).toMatchObject({
      code: 1,
      items: [{ type: 'failed', passing: true, reason: expect.stringMatching(/does not answer/) }],
    })
    const counting = await cuttingProxy(
      () => server.url,
      () => {
        sent += 1
        return sent < 4 ? 2_000_000 : Number.POSITIVE_INFINITY
      },
    )
    const second = await uploaded({
      words: [file],
      ...told(lead),
      server: new URL(counting.through(lead.uploads)).origin,
    })
    expect(second).toMatchObject({ code: 0, sums: { uploaded: 1 } })
    expect(counting.cuts).toBeGreaterThan(0)
    expect(await recordingsOf(lead)).toMatchObject([{ sha256: sha256(bytes) }])
  })

  test('ends where no file could be uploaded: the server is away, or refuses the token', async () => {
    const lead = await server.lead()
    const words = await Promise.all([1, 2, 3, 4].map((i) => fileOf(`many/${i}.wav`, noise(10 + i))))
    const refused = await uploaded({ words, ...told(lead), token: 'x.y.z', parallel: 1 })
    expect(refused).toMatchObject({ code: 1, sums: { failed: 1, not_tried: 3 } })
    expect(refused.lines.at(-1)).toMatch(/3 not tried, since the server answers 401/)
    const away = await uploaded({ words, ...told(lead), server: `http://127.0.0.1:${await freePort()}`, parallel: 1 })
    expect(away).toMatchObject({ code: 1, sums: { failed: 1, not_tried: 3 } })
    expect(away.items).toMatchObject([{ passing: true, reason: 'the server does not answer (ECONNREFUSED)' }])
  })

  test('does not try again where the certificate of the server is not trusted, and says what to do', async () => {
    const [key, cert] = ['key.pem', 'cert.pem'].map((name) => path.join(folder, name)) as [string, string]
    const words =
      'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -keyout'
    execFileSync('openssl', [...words.split(' '), key, '-out', cert], { stdio: 'ignore' })
    const tls = createServer({ key: await readFile(key), cert: await readFile(cert) }, (_req, res) => res.end())
    await once(tls.listen(0, '127.0.0.1'), 'listening')
    afterwards(async () => void tls.close())
    const lead = await server.lead()
    const origin = `https://127.0.0.1:${(tls.address() as AddressInfo).port}`
    const file = await fileOf('distrusted.wav', noise(100))
    expect(await uploaded({ words: [file], ...told(lead), server: origin, delaysMs: [600_000] })).toMatchObject({
      code: 1,
      items: [
        { passing: false, reason: expect.stringMatching(/can't be trusted \(\w*CERT\w*\).*NODE_EXTRA_CA_CERTS/) },
      ],
    })
  })

  test('without a token, and where a login elsewhere signs them, says how to give one', async () => {
    const lead = await server.lead()
    const publicKey = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' })
    const keys = await fileOf('jwks.json', Buffer.from(JSON.stringify({ keys: [publicKey] })))
    const settings = () => readConfig({ NODE_ENV: 'production', RECORDINGS_JWKS_FILE: keys })
    const words = [await fileOf('no-login.wav', noise(100))]
    await expect(uploaded({ words, ...told(lead), token: undefined, server: undefined }, settings)).rejects.toThrow(
      /RECORDINGS_TOKEN, or a file by --token-file.* RECORDINGS_JWKS_FILE names/,
    )
  })

  test('without a token makes one of the secret of the server on this machine, and for no other', async () => {
    const lead = await server.lead()
    const file = await fileOf('minted.wav', noise(100))
    const settings =
      (env = {}) =>
      () =>
        readConfig({
          RECORDINGS_JWT_SECRET: 'a secret of the tests, at least thirty-two bytes',
          PORT: new URL(server.url).port,
          ...env,
        })
    const mine = { words: [file], ...told(lead), token: undefined, server: undefined }
    expect(await uploaded(mine, settings())).toMatchObject({ code: 0, sums: { uploaded: 1 } })
    await expect(uploaded(mine, settings({ NODE_ENV: 'production' }))).rejects.toThrow(/say so with --yes/)
    expect(await uploaded({ ...mine, yes: true }, settings({ NODE_ENV: 'production' }))).toMatchObject({ code: 0 })
    await expect(uploaded({ ...mine, server: 'https://elsewhere.example' }, settings())).rejects.toThrow(
      /a login for https:\/\/elsewhere.example is missing/,
    )
  })

  test('makes that one before any of several at once goes without', async () => {
    const lead = await server.lead()
    const words = await Promise.all([1, 2, 3, 4].map((i) => fileOf(`at-once-${i}.mp3`, noise(10 + i))))
    const { port } = new URL(server.url)
    const settings = () => ({ ...server.service.config, host: '127.0.0.1', port: Number(port) })
    const { sums } = await uploaded(
      { words, ...told(lead), token: undefined, parallel: 4, server: undefined },
      settings,
    )
    expect(sums).toMatchObject({ uploaded: 4, failed: 0, not_tried: 0 })
  })

  test('as a program takes its token from the environment or a file, which the settings do not mind', async () => {
    const lead = await server.lead()
    const file = await fileOf('program.wav', noise(5_000))
    const words = ['upload', file, '--lead', lead.leadId, '--call-log', lead.callLogId, '--server', server.url]
    const byEnvironment = await runCommand(words, { dir: folder, env: { RECORDINGS_TOKEN: server.tokens.telecaller } })
    expect(byEnvironment).toMatchObject({ code: 0, stderr: '' })
    expect(byEnvironment.stdout).toMatch(
      /^uploaded: .*program\.wav: recording \S+\n1 uploaded \(4\.9 KiB\), 0 there already, 0 failed\n$/,
    )
    const token = await fileOf('token', Buffer.from(`${server.tokens.telecaller}\n`))
    const byFile = await runCommand([...words, '--token-file', token, '--json'], { dir: folder })
    const [item, result] = byFile.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect([item, result]).toMatchObject([{ type: 'there' }, { type: 'result', ok: true, there: 1, uploaded: 0 }])
    expect(() => readConfig({ RECORDINGS_TOKEN: 'x' })).not.toThrow()
  })
})

describe('list', () => {
  async function listed(options: Partial<ListOptions>) {
    const output = said()
    expect(await list(server.service.config, { what: 'leads', limit: 50, ...options }, output)).toBe(0)
    return { items: output.items, sums: output.sums, lines: output.lines }
  }

  test('shows leads, calls, recordings and open uploads, of one lead or of all, a page at a time', async () => {
    const lead = await server.lead()
    const made = await record(server, noise(2_048), { lead, filename: 'first\u202e\u0007.wav' })
    await record(server, noise(4_096), { lead })
    const address = await tusClient(server.tokens.telecaller).begin(lead, 10_000)
    const of = { lead: lead.leadId }
    expect((await listed({ what: 'leads', ...of })).items).toMatchObject([
      { type: 'lead', id: lead.leadId, telecaller_id: 'telecaller-a' },
    ])
    expect((await listed({ what: 'calls', ...of })).items).toMatchObject([
      { type: 'call_log', id: lead.callLogId, lead_id: lead.leadId },
    ])
    expect((await listed({ what: 'uploads', ...of })).items).toMatchObject([
      { type: 'upload', id: path.basename(address), offset: 0, length: 10_000 },
    ])
    const page = await listed({ what: 'recordings', ...of, limit: 1 })
    expect(page.items).toMatchObject([{ type: 'recording', id: made.id, size: 2_048 }])
    expect(page.sums).toEqual({ count: 1, next_after: made.id })
    expect(page.lines[0]).toMatch(/RECORDING +LEAD +CALL +SIZE/)
    expect(page.lines[1]).toMatch(new RegExp(`^${made.id}  ${lead.leadId} .* 2\\.0 KiB .*first\\s?\\.wav$`))
    expect(page.lines.at(-1)).toBe(`there are more: --after ${made.id}`)
    const rest = await listed({ what: 'recordings', ...of, limit: 1, after: made.id })
    expect(rest.items).toMatchObject([{ size: 4_096 }])
    expect(rest.sums.next_after).toBeNull()
    expect((await listed({ what: 'calls', lead: 'nobody' })).lines).toEqual(['no calls of nobody'])
  })
})
