/** Of `doctor`: the directories, what they lie on, whose they are, and the room that is left. */
import { access, constants, stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import type { Config } from '../config/config.ts'
import { advice, bad, type Finding, ok } from './finding.ts'
import { inUnits } from './progress.ts'

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code ?? (error as Error).message

/** As statfs(2) numbers them. */
const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  61267: 'ext4',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  801189825: 'zfs',
  16914836: 'tmpfs',
  2035054128: 'overlay',
  1702057286: 'fuse',
  26985: 'nfs',
  20859: 'smb',
  4266872130: 'smb',
  4283649346: 'cifs',
  12805120: 'ceph',
}
const OF_THE_NETWORK = ['nfs', 'smb', 'cifs', 'ceph', 'fuse']
const PASSING: Readonly<Record<string, string>> = {
  tmpfs: 'is gone when the machine stops',
  overlay: 'is gone with its container',
}

/** The directory, or what of its path is there. */
async function thereOf(directory: string): Promise<string> {
  for (let at = directory; ; at = path.dirname(at)) {
    const isThere = await stat(at).then(
      () => true,
      () => false,
    )
    if (isThere || at === path.dirname(at)) return at
  }
}

interface Place {
  about: string
  setting: string
  directory: string
}

const placesOf = ({ dataDir, recordingsDir, uploadsDir, store }: Config): Place[] => [
  { about: 'data', setting: 'RECORDINGS_DATA_DIR', directory: dataDir },
  ...(store ? [] : [{ about: 'recordings', setting: 'RECORDINGS_DIR', directory: recordingsDir }]),
  { about: 'uploads', setting: 'RECORDINGS_UPLOADS_DIR', directory: uploadsDir },
]

async function lookAt({ about, setting, directory }: Place): Promise<Finding> {
  const there = await thereOf(directory)
  const { type } = await statfs(there)
  const system = FILE_SYSTEMS[type >>> 0] ?? `a file system of type 0x${(type >>> 0).toString(16)}`
  const isMade = there === directory
  const says = `${directory} ${isMade ? 'is there' : 'is made at the start'}, on ${system}`
  const usable = await access(there, constants.W_OK | constants.X_OK).then(() => undefined, codeOf)
  if (usable !== undefined) {
    const who = `uid ${process.getuid?.()}`
    return bad(
      about,
      `${there} takes no files of this user (${usable}, ${who})`,
      `chown it to the service's user, or set ${setting}`,
    )
  }
  if (OF_THE_NETWORK.includes(system)) {
    return bad(about, says, `put it on a local file system and set ${setting}: SQLite and its locks need one`)
  }
  if (PASSING[system])
    return advice(about, `${says}, which ${PASSING[system]}`, `name a place that stays by ${setting}`)
  const { mode, uid } = await stat(there)
  if (isMade && uid !== process.getuid?.()) {
    return advice(
      about,
      `${says}; it is of uid ${uid}, and this is uid ${process.getuid?.()}`,
      "run commands as the server's user",
    )
  }
  if (isMade && (mode & 0o007) !== 0) {
    return advice(about, `${says}, open to every user of the machine`, `chmod o-rwx ${directory}`)
  }
  return ok(about, says)
}

export async function places(config: Config): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const place of placesOf(config)) findings.push(await lookAt(place))
  findings.push(...(await secrets(config)))
  return findings
}

/** Files with secrets that this service keeps. */
async function secrets({ dataDir }: Config): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const name of ['jwt-secret', 'playback-links-secret', 'recordings.db']) {
    const file = path.join(dataDir, name)
    const { mode } = await stat(file).catch(() => ({ mode: 0 }))
    if ((mode & 0o077) === 0) continue
    findings.push(advice('permissions', `${file} can be read by other users`, `chmod 600 ${file}`))
  }
  return findings
}

const FEW_INODES = 0.02

export async function space(config: Config): Promise<Finding[]> {
  const { minFreeBytes } = config.uploads
  const findings: Finding[] = []
  const seen = new Set<number>()
  for (const { directory, setting } of placesOf(config)) {
    const there = await thereOf(directory)
    const { dev } = await stat(there)
    if (seen.has(dev)) continue
    seen.add(dev)
    const { bavail, bsize, files, ffree } = await statfs(there)
    const freeBytes = bavail * bsize
    const says = `${inUnits(freeBytes)} free under ${there}`
    if (freeBytes < minFreeBytes) {
      const todo = `make room, or set ${setting}: below RECORDINGS_MIN_FREE_SPACE (${inUnits(minFreeBytes)}) uploads are refused`
      findings.push(bad('space', says, todo))
    } else if (files > 0 && ffree / files < FEW_INODES) {
      findings.push(
        advice('space', `${says}, but ${ffree} inodes of ${files}`, 'remove small files, or make a new file system'),
      )
    } else if (freeBytes < minFreeBytes * 4) {
      findings.push(advice('space', says, `make room soon: below ${inUnits(minFreeBytes)} uploads are refused`))
    } else findings.push(ok('space', says))
  }
  return findings
}
