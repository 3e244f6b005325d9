/**
 * The directories that the settings name: made where they are missing, and what is wrong with them told as faults of the
 * settings.
 */
import type { Places } from '../../config/config.ts'
import { assertWritable, isDirectory, lookAtDirectory, makeDirectory } from './directories.ts'
import { isRestoring } from './restoring.ts'

/** In the order in which they are made: what lies in a directory with a fault is not told of again. */
const SETTINGS = [
  ['dataDir', 'RECORDINGS_DATA_DIR'],
  ['recordingsDir', 'RECORDINGS_DIR'],
  ['uploadsDir', 'RECORDINGS_UPLOADS_DIR'],
] as const

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'this user may not write there',
  EPERM: 'this user may not write there',
  EROFS: 'the file system is read-only',
  ENOTDIR: 'that, or a part of its path, is no directory',
  ENOSPC: 'the disk is full',
}

async function faultsOf(places: Places, look: (directory: string) => Promise<void>): Promise<string[]> {
  const faults: string[] = []
  const bad: string[] = []
  for (const [place, name] of SETTINGS) {
    const directory = places[place]
    if (bad.some((each) => directory === each || directory.startsWith(`${each}/`))) continue
    try {
      await look(directory)
    } catch (error) {
      const { code = (error as Error).message } = error as NodeJS.ErrnoException
      // It may be so for a while only, and what lies there plays meanwhile; `/readyz` tells.
      if (code === 'EROFS' && place !== 'dataDir' && (await isDirectory(directory))) continue
      const reason = REASONS[code] ?? 'it cannot be made'
      const who = process.getuid === undefined ? '' : ` (uid ${process.getuid()})`
      bad.push(directory)
      faults.push(
        `${name} is \`${directory}\`: ${reason} (${code}): expected a directory of the user who runs the service${who}; ` +
          'make it and give it to that user, or name another place',
      )
    }
  }
  return faults
}

/** An empty database in its place would be taken for what was to be restored. */
async function faultsOfRestore({ dataDir }: Places): Promise<string[]> {
  if (!(await isRestoring(dataDir))) return []
  return [
    `RECORDINGS_DATA_DIR is \`${dataDir}\`: a restore of it was broken off: run \`call-recordings restore\` with the same backup ` +
      'again, which goes on, or name another place',
  ]
}

/** Makes what is missing, durably. @returns the faults, one sentence each */
export async function makePlaces(places: Places): Promise<string[]> {
  const faults = await faultsOf(places, async (directory) => {
    await makeDirectory(directory)
    await assertWritable(directory)
  })
  return [...faults, ...(await faultsOfRestore(places))]
}

/** The same faults as far as they can be seen without making anything. */
export const faultsOfPlaces = async (places: Places): Promise<string[]> => [
  ...(await faultsOf(places, lookAtDirectory)),
  ...(await faultsOfRestore(places)),
]
