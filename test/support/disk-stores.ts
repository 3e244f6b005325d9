/** A staging and a library on this machine's disk, in a folder of their own; the caller closes them. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { openDiskLibrary } from '../../src/storage/disk/disk-library.ts'
import { DiskStaging } from '../../src/storage/disk/disk-staging.ts'

export async function diskStores() {
  const root = mkdtempSync(path.join(tmpdir(), 'stores-'))
  const [uploads, recordings] = ['uploads', 'recordings'].map((name) => path.join(root, name)) as [string, string]
  for (const directory of [uploads, recordings]) mkdirSync(directory)
  const library = await openDiskLibrary(recordings)
  const staging = new DiskStaging({ directory: uploads, library })
  return {
    library,
    staging,
    uploads,
    recordings,
    keepsWhatIsHeld: true,
    /** The staging as a process finds it that begins anew. */
    again: () => new DiskStaging({ directory: uploads, library }),
    async close() {
      staging.stop()
      library.close()
      rmSync(root, { recursive: true, force: true })
    },
  }
}
