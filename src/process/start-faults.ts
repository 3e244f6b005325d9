/** Faults of a start, or of a command's, that an operator mends: what to do, in a sentence. */
import type { Config } from '../config/config.ts'

/** @returns undefined for a fault of another kind */
export function whatToDo(error: unknown, config: Config): string | undefined {
  const { host, dataDir, postgres } = config
  const { code, syscall, path, message } = error as NodeJS.ErrnoException
  const { port, setting, free } = portOf(error, config)
  const isListening = syscall === 'listen' || syscall === 'getaddrinfo'
  if (isListening && code === 'EADDRINUSE') {
    return `port ${port} of ${host} is taken by another program: end that one, or set ${setting}${free}`
  }
  if (isListening && code === 'EACCES') {
    return `port ${port} may not be listened on by this user: set ${setting} to 1024 or more, with a proxy in front`
  }
  if (isListening && ['EADDRNOTAVAIL', 'ENOTFOUND', 'EAI_AGAIN', 'EINVAL'].includes(code ?? '')) {
    return `${host} is no address of this machine: set HOST, such as 127.0.0.1 or 0.0.0.0`
  }
  if (/another server uses this data directory/.test(message)) {
    return `another server uses this data directory: end that one, or set RECORDINGS_DATA_DIR to another than ${dataDir}`
  }
  if (postgres && /^(busy|unavailable)$/.test(code ?? '')) return ofPostgres(error as Error, `${postgres.url}`)
  if (path?.startsWith(dataDir) && UNUSABLE.test(code ?? '')) {
    return (
      `${path} can't be used (${code}): expected a file that the service has made itself, of the user who runs it; ` +
      'bring back the one that was there, or set RECORDINGS_DATA_DIR to another directory'
    )
  }
  return undefined
}

/** The port that could not be had, and what names it. */
function portOf(error: unknown, { port, metrics }: Config) {
  const { port: asked } = error as { port?: number }
  const isOfMetrics = metrics?.at === 'port' && metrics.port === asked
  return isOfMetrics
    ? { port: asked, setting: 'RECORDINGS_METRICS_PORT', free: ' to another one' }
    : { port, setting: 'PORT', free: ' (0 takes any free port)' }
}

/** Of a file that is something else, or somebody else's. */
const UNUSABLE = /^(E(ISDIR|ACCES|PERM)|SQLITE_(NOTADB|CANTOPEN|CORRUPT|READONLY|PERM)(_.*)?)$/

/** What PostgreSQL says of an address that it does not take, by its codes. */
const REFUSED: Readonly<Record<string, string>> = {
  '28P01': 'it refuses the user or the password',
  '28000': 'it refuses the user',
  '3D000': 'it has no such database: make it, with the encoding UTF8',
  '42P01': 'it lacks tables of this version: start the server once, which makes them',
  '42703': 'its tables are of another version: start the server once, which brings them up to date',
  '42501': 'the user may not make tables there: give it the right CREATE on the database and on its schema public',
}

/** @param address without its password */
function ofPostgres(error: Error, address: string): string {
  let reason: Error & { code?: string } = error
  while (reason.cause instanceof Error) reason = reason.cause
  const { code, message } = reason
  const told = (code !== undefined && REFUSED[code]) || `it can't be used (${code ?? message})`
  return `PostgreSQL at ${address}: ${told}; RECORDINGS_DATABASE_URL names it`
}
