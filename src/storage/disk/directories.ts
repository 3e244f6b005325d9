/**
 * Directories that have to be there, made durably.
 *
 * Not by `mkdir` with `recursive`: where the kernel says ENOENT of a name that may not be made, as in `/proc`, Node 24
 * tries for ever.
 */
import { constants } from 'node:fs'
import { access, mkdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { syncDirectory } from './durability.ts'

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code

const fault = (code: string, directory: string) => Object.assign(new Error(`${code}: ${directory}`), { code })

/** @returns whether it is there. @throws ENOTDIR when it is something else */
export async function isDirectory(directory: string): Promise<boolean> {
  try {
    if ((await stat(directory)).isDirectory()) return true
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false
    throw error
  }
  throw fault('ENOTDIR', directory)
}

/** What of its path is missing, the outermost first, and what is there. */
async function missingOf(directory: string): Promise<{ there: string; missing: string[] }> {
  const missing: string[] = []
  for (let at = directory; ; at = path.dirname(at)) {
    if (await isDirectory(at)) return { there: at, missing }
    missing.unshift(at)
  }
}

/** @throws what keeps it from being made, as far as that can be seen without making it */
export async function lookAtDirectory(directory: string): Promise<void> {
  const { there } = await missingOf(directory)
  await assertWritable(there)
}

/** @throws what keeps names from being made in it */
export const assertWritable = (directory: string): Promise<void> => access(directory, constants.W_OK | constants.X_OK)

/** @throws what keeps it from being made */
export async function makeDirectory(directory: string): Promise<void> {
  const { missing } = await missingOf(directory)
  for (const each of missing) {
    try {
      await mkdir(each, { mode: 0o700 })
    } catch (error) {
      // Made by another meanwhile; or a link that leads nowhere.
      if (codeOf(error) !== 'EEXIST' || !(await isDirectory(each))) throw error
    }
    await syncDirectory(path.dirname(each))
  }
}
