/**
 * A secret that is kept in a file, and made at the first start.
 *
 * The file appears whole, by rename, and is on disk before the secret is used: what was signed with it stays valid over
 * a crash. A first start that died on the way leaves nothing that keeps the next one from making its own.
 */
import { randomBytes } from 'node:crypto'
import { open, readFile, rename } from 'node:fs/promises'
import path from 'node:path'
import { ConfigError } from './config.ts'

const MIN_BYTES = 32

/** The text in the file; empty where there is none. */
async function textIn(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return ''
  }
}

async function make(file: string): Promise<string> {
  const text = randomBytes(MIN_BYTES).toString('base64url')
  const temporary = `${file}.new`
  const handle = await open(temporary, 'w', 0o600)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(temporary, file)
  return text
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function secretIn(file: string): Promise<Uint8Array> {
  const secret = new TextEncoder().encode((await textIn(file)) || (await make(file)))
  // Also for a file that was there: the process that made it may have ended before its name was durable.
  await syncFolder(path.dirname(file))
  return secret
}

/**
 * The secret in a file (mode 0600), made where the file is missing or empty. One process at a time makes it: the server,
 * which holds its data directory's lock.
 *
 * @throws ConfigError when the file can be neither read nor made, or what is there is too short
 */
export async function keptSecret(file: string): Promise<Uint8Array> {
  const secret = await secretIn(file).catch(({ code, message }: NodeJS.ErrnoException) => {
    throw fault(file, `can't be used (${code ?? message}): expected a file of the user who runs the service`)
  })
  if (secret.length < MIN_BYTES) throw fault(file, `is shorter than ${MIN_BYTES} bytes`)
  return secret
}

/** The secret in a file, where one is. @throws ConfigError when it can't be read, or is too short */
export async function presentSecret(file: string): Promise<Uint8Array | undefined> {
  const text = await textIn(file).catch(({ code, message }: NodeJS.ErrnoException) => {
    throw fault(file, `can't be read (${code ?? message}): expected a file of the user who runs this`)
  })
  if (text === '') return undefined
  const secret = new TextEncoder().encode(text)
  if (secret.length < MIN_BYTES) throw fault(file, `is shorter than ${MIN_BYTES} bytes`)
  return secret
}

const fault = (file: string, what: string) =>
  new ConfigError([`the secret \`${file}\` ${what}; remove it to have a new one made`])
