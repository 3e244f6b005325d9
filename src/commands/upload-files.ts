/**
 * `call-recordings upload FILE…`: recordings that lie somewhere as files, to a server, several at once. It can be broken off and run
 * again: what is there is not sent twice.
 */
import { readFile, stat } from 'node:fs/promises'
import { type Clock, systemClock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { confirm } from './confirm.ts'
import { localAddress } from './local-address.ts'
import { mintToken, signingSecret } from './mint.ts'
import { onOneLine } from './on-one-line.ts'
import type { Item, Output } from './output.ts'
import { inUnits } from './progress.ts'
import { type UploadBars, uploadBars } from './upload-bars.ts'
import { type Named, namedFiles } from './upload-names.ts'
import { NotUploaded, type UploadOf, type UploadTo, uploadOne } from './upload-one.ts'
import { UsageError } from './usage-error.ts'

export interface UploadOptions {
  words: readonly string[]
  lead?: string | undefined
  callLog?: string | undefined
  pattern?: string | undefined
  /** Undefined: the one on this machine that the settings are of. */
  server?: string | undefined
  token?: string | undefined
  /** Holds a token; read again as it is needed. */
  tokenFile?: string | undefined
  parallel: number
  dryRun: boolean
  yes: boolean
  delaysMs?: readonly number[]
}

const DELAYS_MS = [500, 1_000, 2_000, 5_000, 10_000, 20_000]
const MINTED_MS = 3_600_000
/** A minted token is used for so long. */
const RENEWED_MS = MINTED_MS / 2
const SUB = 'call-recordings-upload'

function addressOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol))
    throw new UsageError(`--server is \`${text}\`: expected an http or https address`)
  if (url.username !== '' || url.password !== '')
    throw new UsageError('--server has credentials in it: a token is a login here')
  return new URL(url.href.replace(/[?#].*$/, '').replace(/\/?$/, '/'))
}

function ownAddress(config: Config): URL {
  if (config.port === 0) throw new UsageError('PORT is 0: name the server by --server')
  return localAddress(config)
}

const isLoopback = ({ hostname }: URL) => /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(hostname)

/** A token of the server's own secret, made anew now and then. It goes to no other machine. */
async function minting(config: Config, server: URL, yes: boolean, clock: Clock): Promise<UploadTo['token']> {
  if (
    !isLoopback(server) &&
    server.origin !== config.publicUrl?.origin &&
    server.origin !== ownAddress(config).origin
  ) {
    throw new UsageError(`a login for ${server.origin} is missing: RECORDINGS_TOKEN, or a file by --token-file`)
  }
  const secret = await signingSecret(config.auth).catch((error: Error) => {
    throw new UsageError(
      `a login is missing: RECORDINGS_TOKEN, or a file by --token-file. None is made here: ${error.message}`,
    )
  })
  if (config.production) await confirm('makes a login for production with the secret of the server', yes)
  const minted = { sub: SUB, role: 'service', forMs: MINTED_MS } as const
  let mintedAtMs = Number.NEGATIVE_INFINITY
  let token = Promise.resolve('')
  return () => {
    if (performance.now() - mintedAtMs > RENEWED_MS) {
      mintedAtMs = performance.now()
      // Those who ask meanwhile wait for the same one.
      token = mintToken(config.auth, secret, minted, clock).then((made) => made.token)
    }
    return token
  }
}

/** @throws UsageError */
async function destination(readConfig: () => Config, options: UploadOptions, clock: Clock): Promise<UploadTo> {
  const { server, token, tokenFile, yes, delaysMs = DELAYS_MS } = options
  const address = server === undefined ? ownAddress(readConfig()) : addressOf(server)
  if (tokenFile !== undefined) {
    const read = async () => {
      const text = await readFile(tokenFile, 'utf8').catch(({ code }: NodeJS.ErrnoException) => {
        throw new NotUploaded(`--token-file ${tokenFile} can't be read (${code})`, { forAll: true })
      })
      return text.trim()
    }
    await read().catch(({ message }: NotUploaded) => {
      throw new UsageError(message)
    })
    return { server: address, token: read, delaysMs }
  }
  if (token !== undefined && token.trim() !== '') return { server: address, token: async () => token.trim(), delaysMs }
  return { server: address, token: await minting(readConfig(), address, yes, clock), delaysMs }
}

interface Run {
  to: UploadTo
  output: Output
  bars: UploadBars
  sum: { uploaded: number; there: number; failed: number; passed_over: number; not_tried: number; bytes: number }
  /** Why no more are tried. */
  ended: string | undefined
}

function tell({ output, bars }: Run, how: 'tell' | 'warn', item: Item, text: string): void {
  if (output.isJson || !bars.say(onOneLine(text))) output[how](item, text)
}

function fail(run: Run, file: string, reason: string, passing = false): void {
  run.sum.failed += 1
  const then = passing ? '; run the same again: it goes on where this ended' : ''
  tell(run, 'warn', { type: 'failed', file, reason, passing }, `failed: ${file}: ${reason}${then}`)
}

async function take(run: Run, of: UploadOf): Promise<void> {
  const { to, bars, sum } = run
  const { file, leadId, callLogId } = of
  const bar = bars.begin(file, (await stat(file).catch(() => undefined))?.size ?? 0)
  try {
    const { recordingId, bytes, wasThere } = await uploadOne(to, of, (offset) => bar.at(offset))
    sum[wasThere ? 'there' : 'uploaded'] += 1
    if (!wasThere) sum.bytes += bytes
    const item = {
      type: wasThere ? 'there' : 'uploaded',
      file,
      lead_id: leadId,
      call_log_id: callLogId,
      recording_id: recordingId ?? null,
      bytes,
    }
    tell(run, 'tell', item, `${wasThere ? 'there already' : 'uploaded'}: ${file}: recording ${recordingId}`)
  } catch (error) {
    if (!(error instanceof NotUploaded)) throw error
    fail(run, file, error.message, error.passing)
    if (error.forAll) run.ended ??= error.message
  } finally {
    bar.done()
  }
}

async function takeAll(run: Run, files: readonly UploadOf[], parallel: number): Promise<void> {
  const rest = files.values()
  const one = async () => {
    for (const file of rest) {
      if (run.ended === undefined) await take(run, file)
      else run.sum.not_tried += 1
    }
  }
  await Promise.all(Array.from({ length: parallel }, one))
}

function conclude({ output, sum, ended }: Run): number {
  const { uploaded, there, failed, passed_over, not_tried, bytes } = sum
  const parts = [`${uploaded} uploaded (${inUnits(bytes)})`, `${there} there already`, `${failed} failed`]
  if (passed_over > 0) parts.push(`${passed_over} passed over`)
  if (not_tried > 0) parts.push(`${not_tried} not tried, since ${ended}`)
  output.sum({ ...sum }, parts.join(', '))
  return failed === 0 && not_tried === 0 && uploaded + there > 0 ? 0 : 1
}

/** What needs no server to be told. @returns the files that are to be uploaded */
function sort(run: Run, named: readonly Named[]): UploadOf[] {
  const files: UploadOf[] = []
  for (const each of named) {
    if ('fault' in each) fail(run, each.file, each.fault)
    else if ('passedOver' in each) {
      run.sum.passed_over += 1
      const { file, passedOver: reason } = each
      tell(run, 'warn', { type: 'passed_over', file, reason }, `passed over: ${file}: ${reason}`)
    } else files.push(each)
  }
  return files
}

/** @param readConfig is called where a setting is needed: with a server and a token none is @returns the exit code */
export async function upload(
  readConfig: () => Config,
  options: UploadOptions,
  output: Output,
  clock: Clock = systemClock,
): Promise<number> {
  const named = await namedFiles(options.words, options)
  const sum = { uploaded: 0, there: 0, failed: 0, passed_over: 0, not_tried: 0, bytes: 0 }
  if (options.dryRun) {
    const trial = {
      to: undefined as never,
      output,
      bars: uploadBars({ isTTY: false } as NodeJS.WriteStream),
      sum,
      ended: undefined,
    }
    const files = sort(trial, named)
    for (const { file, leadId, callLogId } of files) {
      const item = { type: 'to_upload', file, lead_id: leadId, call_log_id: callLogId }
      output.tell(item, `to upload: ${file}: call ${callLogId} of lead ${leadId}`)
    }
    output.sum({ to_upload: files.length, failed: sum.failed, passed_over: sum.passed_over }, 'nothing was done')
    return sum.failed === 0 && files.length > 0 ? 0 : 1
  }
  const to = await destination(readConfig, options, clock)
  const run: Run = { to, output, bars: uploadBars(process.stderr), sum, ended: undefined }
  try {
    await takeAll(run, sort(run, named), options.parallel)
  } finally {
    run.bars.stop()
  }
  return conclude(run)
}
