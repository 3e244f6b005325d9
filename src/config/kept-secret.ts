/**
 * A secret that is kept in a file, and made at the first start.
 *
 * The file appears whole, by rename, and is on disk before the secret is used: what was signed with it stays valid over
 * a crash. A first start that died on the way leaves nothing that keeps the next one from making its own.
 */
import { randomBytes } from 'node:crypto'
import { open, readFile, rename } from 'node:fs/promises'
import path from 'node:path'

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

/**
 * The secret in a file (mode 0600), made where the file is missing or empty. One process at a time makes it: the server,
 * which holds its data directory's lock.
 *
 * @throws when what is there is too short to be one
 */
export async function keptSecret(file: string): Promise<Uint8Array> {
  const secret = new TextEncoder().encode((await textIn(file)) || (await make(file)))
  if (secret.length < MIN_BYTES) {
    throw new Error(`the secret in ${file} is shorter than 32 bytes; remove the file to have a new one made`)
  }
  // Also for a file that was there: the process that made it may have ended before its name was durable.
  await syncFolder(path.dirname(file))
  return secret
}
