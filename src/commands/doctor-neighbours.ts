/** Of `doctor`: keys, database and store, and whether their clocks and this machine's agree. */
import { existsSync } from 'node:fs'
import { faultsOfKeyUrl } from '../auth/keys.ts'
import type { Config } from '../config/config.ts'
import { presentSecret } from '../config/kept-secret.ts'
import { knowsRecordings, recordingTotals } from '../db/recordings.ts'
import { whatToDo } from '../process/start-faults.ts'
import { nameOf, openTables } from './existing.ts'
import { advice, bad, type Finding, ok } from './finding.ts'
import { inUnits } from './progress.ts'

const WITHIN_MS = 5_000
/** So far a token's times may be off (src/auth/tokens.ts). */
const TOLERATED_MS = 30_000

export async function keys({ auth: { key }, production }: Config): Promise<Finding[]> {
  switch (key.kind) {
    case 'secret':
      return [ok('keys', `a secret of ${key.secret.length} bytes`)]
    case 'jwks-file':
      // What is wrong with it is a fault of the settings.
      return [ok('keys', `read from ${key.file}`)]
    case 'made':
      try {
        const secret = await presentSecret(key.file)
        return [ok('keys', secret ? `the secret in ${key.file}` : 'a secret is made at the start')]
      } catch (error) {
        return [bad('keys', (error as Error).message.split('\n').at(-1)?.trim() ?? '', 'give it to the service’s user')]
      }
    case 'jwks-url': {
      const fault = await faultsOfKeyUrl(key.url, WITHIN_MS)
      const place = `${key.url.origin}${key.url.pathname}`
      if (fault !== undefined) {
        return [
          bad(
            'keys',
            `${place} ${fault}`,
            'set RECORDINGS_JWKS_URL right, or let this machine reach it: until then all hear 503',
          ),
        ]
      }
      if (production && key.url.protocol === 'http:' && !/^(localhost|127\.|\[::1\])/.test(key.url.hostname)) {
        return [advice('keys', `come from ${place} without TLS`, 'use https: who is between could sign tokens')]
      }
      return [ok('keys', `come from ${place}`)]
    }
  }
}

export async function database(config: Config): Promise<Finding[]> {
  const name = nameOf(config)
  if (!config.postgres && !existsSync(config.databaseFile)) return [ok('database', `${name} is made at the start`)]
  try {
    const tables = await openTables(config)
    try {
      if (!(await knowsRecordings(tables))) return [ok('database', `${name} answers; it knows no recording yet`)]
      const { count, bytes } = await recordingTotals(tables)
      return [ok('database', `${name} answers; it knows ${count} recordings, ${inUnits(bytes)}`)]
    } finally {
      await tables.close()
    }
  } catch (error) {
    const told = whatToDo(error, config) ?? (error as Error).message
    if (/start the server once/.test(told)) return [advice('database', told, 'the next start does so')]
    return [bad('database', told, 'until then nothing is taken in and nothing is played')]
  }
}

export async function store({ store: settings }: Config): Promise<Finding[]> {
  if (!settings) return []
  const { connectS3 } = await import('../storage/s3/s3-client.ts')
  const bucket = await connectS3(settings)
  try {
    await bucket.sizeOf('recordings/.doctor')
    return [ok('store', `${bucket.place} answers; \`check-store\` tries all that is needed of it`)]
  } catch (error) {
    return [
      bad(
        'store',
        (error as Error).message,
        'see the address, the credentials (AWS_…) and the bucket; then `check-store`',
      ),
    ]
  } finally {
    bucket.close()
  }
}

/** What the clock of an HTTP server says; undefined where it does not answer, or says nothing. */
async function httpTime(url: string | URL): Promise<number | undefined> {
  try {
    const res = await fetch(url, { method: 'HEAD', redirect: 'manual', signal: AbortSignal.timeout(WITHIN_MS) })
    const atMs = Date.parse(res.headers.get('date') ?? '')
    return Number.isNaN(atMs) ? undefined : atMs
  } catch {
    return undefined
  }
}

/** Another clock than this machine's, by what has it. */
async function* clocks({
  postgres,
  store: settings,
  auth: { key },
}: Config): AsyncGenerator<[string, () => Promise<number | undefined>]> {
  if (postgres) {
    const { timeOfPostgres } = await import('../db/postgres/postgres.ts')
    yield ['PostgreSQL', () => timeOfPostgres(postgres).catch(() => undefined)]
  }
  const endpoint = settings && (settings.endpoint ?? `https://s3.${settings.region ?? 'us-east-1'}.amazonaws.com`)
  if (endpoint) yield ['the store', () => httpTime(endpoint)]
  if (key.kind === 'jwks-url') yield ['the keys’ server', () => httpTime(key.url)]
}

export async function clock(config: Config): Promise<Finding[]> {
  const findings: Finding[] = []
  for await (const [whose, ask] of clocks(config)) {
    const askedMs = Date.now()
    const theirsMs = await ask()
    if (theirsMs === undefined) continue
    // A header has whole seconds, and its way takes time.
    const apartMs = Math.abs(theirsMs - (askedMs + Date.now()) / 2)
    const says = `this machine's and that of ${whose} are ${(apartMs / 1000).toFixed(1)} s apart`
    findings.push(
      apartMs <= TOLERATED_MS
        ? ok('clock', says)
        : bad('clock', says, 'let NTP set both (timedatectl): tokens and signatures are refused by a wrong clock'),
    )
  }
  if (findings.length > 0) return findings
  return [ok('clock', `${new Date().toISOString()} here; there is no other to compare it with`)]
}
