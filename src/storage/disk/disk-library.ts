/**
 * The library on a disk: one file for each recording, in a folder per lead inside the recordings directory.
 *
 * A key is a path relative to that directory. Nothing here is ever overwritten or half there: a file arrives by rename,
 * and its directory is synced before the caller hears of it. Knows files; knows nothing of the database or of HTTP.
 */
import { mkdir, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Library } from '../library.ts'
import { probeDirectory, syncDirectory } from './durability.ts'
import { fileReader } from './file-reader.ts'
import { daysSetAside, discardIn, INCOMING, leftoversIn, libraryEntries, setAside } from './library-entries.ts'
import { moveFile } from './move-file.ts'
import { createOpenFiles } from './open-files.ts'
import { roomIn } from './room.ts'

export interface DiskLibrary extends Library {
  readonly directory: string
  /**
   * Moves a file in under a key; on another file system it is copied, synced and renamed. Safe to call again: a file
   * that has moved already is left alone.
   *
   * @throws ENOENT when neither the source nor the file under the key exists
   */
  put(source: string, key: string): Promise<void>
  /** Where the file lies, for a backup. @throws when the key would leave the directory */
  pathOf(key: string): string
}

/** Also where a part of the way is no folder. */
const isMissing = (error: unknown) => /^(ENOENT|ENOTDIR)$/.test((error as NodeJS.ErrnoException).code ?? '')

async function sizeOfFile(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).size
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/**
 * Opens the directory, which has to be there.
 *
 * @param onStep told of the points at which a test may have the process killed
 */
export async function openDiskLibrary(
  directory: string,
  onStep: (name: string) => void = () => {},
): Promise<DiskLibrary> {
  /** Folders seen to exist, so that the second recording of a lead makes none. */
  const folders = new Set<string>()
  const openFiles = createOpenFiles(pathOf)

  function pathOf(key: string): string {
    const file = path.resolve(directory, key)
    if (!file.startsWith(directory + path.sep)) {
      throw new Error(`the key ${JSON.stringify(key)} leaves the recordings directory`)
    }
    return file
  }

  async function makeFolder(folder: string): Promise<void> {
    if (folders.has(folder)) return
    await mkdir(folder, { recursive: true, mode: 0o700 })
    // Also where it was there before: the process that made it may have ended before its name was durable.
    await syncDirectory(path.dirname(folder))
    if (folders.size > 50_000) folders.clear()
    folders.add(folder)
  }

  const move = (source: string, file: string) => moveFile(source, file, path.join(directory, INCOMING), onStep)

  async function put(source: string, key: string): Promise<void> {
    const file = pathOf(key)
    const folder = path.dirname(file)
    await makeFolder(folder)
    try {
      await move(source, file)
    } catch (error) {
      if (!isMissing(error)) throw error
      if ((await sizeOfFile(source)) !== undefined) {
        // The folder went since it was last seen.
        folders.delete(folder)
        await makeFolder(folder)
        return move(source, file)
      }
      if ((await sizeOfFile(file)) === undefined) throw error
      await syncDirectory(folder)
    }
  }

  async function remove(key: string): Promise<void> {
    const file = pathOf(key)
    openFiles.forget(key)
    await rm(file, { force: true })
    await syncDirectory(path.dirname(file)).catch((error) => {
      if (!isMissing(error)) throw error
    })
  }

  async function quarantine(key: string, nowMs: number): Promise<string> {
    pathOf(key)
    openFiles.forget(key)
    return setAside(directory, key, nowMs)
  }

  return {
    directory,
    put,
    pathOf,
    acquire: openFiles.acquire,
    reader: (key) => fileReader(pathOf(key)),
    sizeOf: (key) => sizeOfFile(pathOf(key)),
    remove,
    entries: () => libraryEntries(directory),
    leftovers: () => leftoversIn(directory),
    quarantine,
    quarantined: () => daysSetAside(directory),
    discard: (name) => discardIn(directory, name),
    room: () => roomIn(directory),
    probe: () => probeDirectory(directory),
    close: openFiles.close,
  }
}
