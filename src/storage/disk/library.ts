/**
 * Where recordings lie: one file each, in a folder per lead inside the recordings directory.
 *
 * A key is a path relative to that directory. Nothing here is ever overwritten or half there: a file arrives by rename,
 * and its directory is synced before the caller hears of it. Knows files; knows nothing of the database or of HTTP.
 */
import { renameSync } from 'node:fs'
import { constants, copyFile, type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { probeDirectory, syncDirectory } from './durability.ts'
import { createOpenFiles, type OpenFile } from './open-files.ts'

/** Files on their way in from another file system; no key begins so. */
export const INCOMING = '.incoming'

export interface Library {
  readonly directory: string
  /**
   * Moves a file in under a key; on another file system it is copied, synced and renamed. Safe to call again: a file
   * that has moved already is left alone.
   *
   * @throws ENOENT when neither the source nor the file under the key exists
   */
  put(source: string, key: string): Promise<void>
  /** The file, opened for reading. @throws ENOENT when it is gone */
  open(key: string): Promise<FileHandle>
  /** The file, opened for reading and shared with others who read it. @throws ENOENT when it is gone */
  acquire(key: string): OpenFile | Promise<OpenFile>
  /** Bytes in the file; undefined when it is gone. */
  sizeOf(key: string): Promise<number | undefined>
  /** Removes the file for good; its absence is fine. */
  remove(key: string): Promise<void>
  /** Rejects when the directory does not take a write. */
  probe(): Promise<void>
  /** Where the file lies. @throws when the key would leave the directory */
  pathOf(key: string): string
  close(): void
}

const isMissing = (error: unknown) => (error as NodeJS.ErrnoException).code === 'ENOENT'

/**
 * Opens the directory, which has to be there.
 *
 * @param onStep told of the points at which a test may have the process killed
 */
export async function openLibrary(directory: string, onStep: (name: string) => void = () => {}): Promise<Library> {
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
    // Also where it was there before: who made it may have ended before its name was durable.
    await syncDirectory(path.dirname(folder))
    if (folders.size > 50_000) folders.clear()
    folders.add(folder)
  }

  async function sizeOfFile(file: string): Promise<number | undefined> {
    try {
      return (await stat(file)).size
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }

  async function copyIn(source: string, file: string): Promise<void> {
    const folder = path.join(directory, INCOMING)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const incoming = path.join(folder, path.basename(file))
    try {
      await copyFile(source, incoming, constants.COPYFILE_FICLONE)
      const handle = await open(incoming, 'r+')
      try {
        await handle.sync()
      } finally {
        await handle.close()
      }
      onStep('copied')
      await rename(incoming, file)
    } catch (error) {
      await rm(incoming, { force: true })
      throw error
    }
    await syncDirectory(path.dirname(file))
    onStep('copy-renamed')
    await rm(source, { force: true })
  }

  async function move(source: string, file: string): Promise<void> {
    try {
      renameSync(source, file)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error
      return copyIn(source, file)
    }
    onStep('renamed')
    await syncDirectory(path.dirname(file))
  }

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

  return {
    directory,
    put,
    pathOf,
    open: (key) => open(pathOf(key), 'r'),
    acquire: openFiles.acquire,
    sizeOf: (key) => sizeOfFile(pathOf(key)),
    remove: async (key) => {
      const file = pathOf(key)
      openFiles.forget(key)
      await rm(file, { force: true })
      await syncDirectory(path.dirname(file)).catch((error) => {
        if (!isMissing(error)) throw error
      })
    },
    probe: () => probeDirectory(directory),
    close: openFiles.close,
  }
}
