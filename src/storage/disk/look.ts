/** Looking at what lies in a directory, while others change it: what is gone by then is no fault. */
import { lstat, opendir, stat } from 'node:fs/promises'

const STEP = 100

const isGone = (error: unknown) => ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')

/** Size and age of what lies there; undefined when it is gone. */
export async function seen(file: string): Promise<{ bytes: number; changedAtMs: number } | undefined> {
  try {
    const { size, mtimeMs, ctimeMs } = await stat(file)
    return { bytes: size, changedAtMs: Math.max(mtimeMs, ctimeMs) }
  } catch (error) {
    if (isGone(error)) return undefined
    throw error
  }
}

/** A link is none, whatever it leads to. */
export async function isFolder(file: string): Promise<boolean> {
  try {
    return (await lstat(file)).isDirectory()
  } catch (error) {
    if (isGone(error)) return false
    throw error
  }
}

/** The names in a folder, some at a time; none where it is missing, or no folder. */
export async function* namesIn(folder: string): AsyncGenerator<string[]> {
  let names: string[] = []
  try {
    for await (const entry of await opendir(folder)) {
      names.push(entry.name)
      if (names.length < STEP) continue
      yield names
      names = []
    }
  } catch (error) {
    if (!isGone(error)) throw error
  }
  if (names.length > 0) yield names
}
