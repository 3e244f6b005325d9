/**
 * Moving a file to its last place: by rename, or where that lies on another file system, by a copy that is synced before
 * it gets its name. The directory is synced before the caller hears of it.
 */
import { renameSync } from 'node:fs'
import { constants, copyFile, mkdir, open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { syncDirectory } from './durability.ts'

/**
 * @param incoming a folder on the target's file system, for what is being copied
 * @param onStep told of the points at which a test may have the process killed
 * @throws ENOENT when the source or the target's folder is missing
 */
export async function moveFile(
  source: string,
  file: string,
  incoming: string,
  onStep: (name: string) => void,
): Promise<void> {
  try {
    renameSync(source, file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error
    return copyIn(source, file, incoming, onStep)
  }
  onStep('renamed')
  await syncDirectory(path.dirname(file))
}

async function copyIn(source: string, file: string, folder: string, onStep: (name: string) => void): Promise<void> {
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
