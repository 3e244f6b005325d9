/**
 * The log: one JSON line for each thing that happened, on stdout; drawn for people in a terminal.
 *
 * What lets its holder in never gets here: headers are not logged at all, and addresses go through `maskTokens`.
 */
import { type DestinationStream, type Logger, type LoggerOptions, pino } from 'pino'
import type { Config } from './config/config.ts'
import { createLogOutput, type LogOutput } from './log-output.ts'

export type Log = Logger

/** @param destination where lines go instead of stdout */
export function createLog(config: Pick<Config, 'logLevel' | 'production'>, destination?: DestinationStream): Log {
  const options: LoggerOptions = {
    level: config.logLevel,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { err: (error: unknown) => errorFields(error) },
  }
  if (destination) return pino(options, destination)
  // That it was touched makes a pipe or a socket one that does not block.
  const output = createLogOutput(process.stdout.fd)
  const log = pino(options, output)
  outputs.set(log, output)
  return log
}

/** The log of a program that goes on: drawn for people in a terminal outside production. What draws is loaded only there. */
export async function openLog(config: Pick<Config, 'logLevel' | 'production'>): Promise<Log> {
  if (!process.stdout.isTTY || config.production) return createLog(config)
  const { default: pretty } = await import('pino-pretty')
  return createLog(config, pretty({ sync: true, ignore: 'event' }))
}

const outputs = new WeakMap<Log, LogOutput>()

const MASK = '***'
/** RFC 7519: `{"` in Base64url, and two dots. */
const JWT = /(?<![\w-])eyJ[\w-]*\.[\w-]*\.[\w-]*/g
/** A parameter's name, wherever it stands. Like JWT tried once for each word: a long address costs its length, no more. */
const NAME = /(?<![^\s?&#"'(<])([^\s?&#"'(<=]+)=/g
/** A name with a percent sign may be any of the others in disguise. */
const SENSITIVE = /token|jwt|secret|password|signature|authorization|api_?key|%/i

/** The address or the sentence without what a token, a signature or a secret in it says. */
export function maskTokens(text: string): string {
  const masked = text.includes('eyJ') ? text.replace(JWT, MASK) : text
  if (!masked.includes('=')) return masked
  let result = ''
  let done = 0
  for (const { 0: parameter, 1: name = '', index } of masked.matchAll(NAME)) {
    if (index < done || !SENSITIVE.test(name)) continue
    const value = index + parameter.length
    const end = masked.slice(value).search(/[\s&"'<>]|$/) + value
    result += masked.slice(done, value) + MASK
    done = end
  }
  return result + masked.slice(done)
}

export interface ErrorFields {
  type: string
  message: string
  code?: string
  stack?: string
  cause?: ErrorFields
}

/** How many causes are told; a chain may be a ring. */
const MAX_CAUSES = 5

/** What the log says of a thrown value. Only these fields: an error of a library may carry a request or a token. */
export function errorFields(error: unknown, depth: number = 0): ErrorFields {
  if (!(error instanceof Error)) return { type: typeof error, message: maskTokens(String(error)) }
  const { code } = error as NodeJS.ErrnoException
  return {
    type: error.name,
    message: maskTokens(error.message),
    code: typeof code === 'string' ? code : undefined,
    stack: error.stack === undefined ? undefined : maskTokens(error.stack),
    cause: error.cause === undefined || depth >= MAX_CAUSES ? undefined : errorFields(error.cause, depth + 1),
  }
}

/** Lines of it that were dropped since the start. */
export const droppedLines = (log: Log): number => outputs.get(log)?.dropped ?? 0

const WRITTEN_WITHIN_MS = 500

/** Resolves when what was logged is written, or could not be in time. To be awaited before the process is ended. */
export async function flushLog(log: Log): Promise<void> {
  await outputs.get(log)?.settled(WRITTEN_WITHIN_MS)
  // What draws lines in a terminal does so in the next turn.
  await new Promise((resolve) => setImmediate(resolve))
}
