/**
 * The mark of a restore that is not whole: a folder in the data directory, in which its database waits until all recordings are in
 * their place. It goes into place last, by rename, so that a place without a database is none that a server may begin to fill.
 */
import { access } from 'node:fs/promises'
import path from 'node:path'

export const RESTORING = '.restoring'
const DATABASE = 'recordings.db'

const isThere = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  )

export async function isRestoring(dataDir: string): Promise<boolean> {
  return (await isThere(path.join(dataDir, RESTORING))) && !(await isThere(path.join(dataDir, DATABASE)))
}
