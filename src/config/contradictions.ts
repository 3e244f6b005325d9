/** Settings that are sound each by itself and do not go together. */
import path from 'node:path'
import { namedPaths } from './named-paths.ts'
import { KEY_SETTINGS, SECRET, type SettingName, type Values } from './settings.ts'
import { ASYMMETRIC, MIN_SECRET_BYTES, SYMMETRIC } from './values.ts'

/** @param keys the settings of a key that are given @returns the faults, one sentence each */
export function contradictions(values: Values, keys: readonly SettingName[]): string[] {
  const faults: string[] = []

  if (keys.length > 1) faults.push(`${keys.join(' and ')} are given: expected one of them`)
  if (keys.length === 0 && values.NODE_ENV === 'production') {
    faults.push(`none of ${KEY_SETTINGS.join(', ')} is given: expected one of them in production`)
  }
  if (keys.length <= 1) faults.push(...algorithmFaults(values, keys[0]))

  faults.push(...secretFaults(values, keys))

  const chunk = values.RECORDINGS_CHUNK_SIZE
  const maxChunk = values.RECORDINGS_MAX_CHUNK_SIZE
  if (chunk !== undefined && maxChunk !== undefined && chunk > maxChunk) {
    faults.push(
      `RECORDINGS_CHUNK_SIZE is ${chunk} bytes: expected no more than RECORDINGS_MAX_CHUNK_SIZE, ${maxChunk} bytes`,
    )
  }

  faults.push(...metricsFaults(values))
  faults.push(...homeFaults(values))

  const { database, recordings, uploads } = namedPaths(values)
  if (contains(recordings, uploads) || contains(uploads, recordings)) {
    faults.push(
      `the recordings (${recordings}) and the uploads (${uploads}) lie inside each other: ` +
        'expected separate directories in RECORDINGS_DIR and RECORDINGS_UPLOADS_DIR',
    )
  }
  for (const [name, place] of [
    ['RECORDINGS_DIR', recordings],
    ['RECORDINGS_UPLOADS_DIR', uploads],
  ] as const) {
    if (contains(place, database))
      faults.push(`${name} is ${place}: expected a directory that does not hold ${database}`)
  }
  return faults
}

/** What an instance makes by itself, the others do not know. */
function secretFaults(values: Values, keys: readonly SettingName[]): string[] {
  const { RECORDINGS_PLAYBACK_LINK_SECRET: links, [SECRET]: logins } = values
  const faults: string[] = []
  if (links && logins && Buffer.compare(links, logins) === 0) {
    faults.push(`RECORDINGS_PLAYBACK_LINK_SECRET and ${SECRET} are the same: expected two, or a link would be a login`)
  }
  if (!values.RECORDINGS_DATABASE_URL) return faults
  if (keys.length === 0 && values.NODE_ENV !== 'production') {
    faults.push(`none of ${KEY_SETTINGS.join(', ')} is given: expected one of them beside RECORDINGS_DATABASE_URL`)
  }
  if (!links) {
    faults.push(
      'RECORDINGS_PLAYBACK_LINK_SECRET is not given: expected one beside RECORDINGS_DATABASE_URL, the same for all instances',
    )
  }
  return faults
}

/** Two places, of which one would be forgotten; or one that is taken. */
function metricsFaults(values: Values): string[] {
  const { RECORDINGS_METRICS_PORT: port, RECORDINGS_METRICS_TOKEN: token, PORT } = values
  if (port === undefined) return []
  return [
    ...(token === undefined
      ? []
      : ['RECORDINGS_METRICS_PORT and RECORDINGS_METRICS_TOKEN are given: expected one of them']),
    ...(port === PORT ? [`RECORDINGS_METRICS_PORT is ${port}, as PORT is: expected another one`] : []),
  ]
}

/** They say nothing without one. */
const OF_THE_STORE = [
  'RECORDINGS_S3_ENDPOINT',
  'RECORDINGS_S3_REGION',
  'RECORDINGS_S3_PATH_STYLE',
  'RECORDINGS_PLAYBACK_REDIRECT',
] as const

/** Rows and bytes are both on this machine, or both are elsewhere. */
function homeFaults(values: Values): string[] {
  const { RECORDINGS_DATABASE_URL: database, RECORDINGS_STORE: store } = values
  // The tests alone pair it with a disk.
  if (store === undefined && database !== undefined && values.NODE_ENV !== 'test') {
    return [
      'RECORDINGS_DATABASE_URL is given: expected RECORDINGS_STORE with it, ' +
        'since other instances on that database could not read bytes on the disk of this one',
    ]
  }
  if (store === undefined) {
    const idle = OF_THE_STORE.filter((name) => values[name] !== undefined)
    return idle.map((name) => `${name} is given: expected RECORDINGS_STORE with it, which it is about`)
  }
  const faults: string[] = []
  if (database === undefined) {
    faults.push(
      'RECORDINGS_STORE is given: expected RECORDINGS_DATABASE_URL with it, ' +
        'since only there it is told which objects are the bytes of an upload',
    )
  }
  for (const name of ['RECORDINGS_DIR', 'RECORDINGS_ACCEL_REDIRECT'] as const) {
    if (values[name] !== undefined) {
      faults.push(`${name} is given: expected none beside RECORDINGS_STORE, since no recording lies on this machine`)
    }
  }
  return faults
}

function algorithmFaults(values: Values, key: SettingName | undefined): string[] {
  const symmetric = key === undefined || key === SECRET
  const secretBytes = values[SECRET]?.length
  const refused = (values.RECORDINGS_JWT_ALGORITHMS ?? []).flatMap((name) => {
    const needed = SYMMETRIC[name]?.minSecretBytes
    if (symmetric !== (needed !== undefined)) return [`${name} does not go with ${key ?? 'the secret made here'}`]
    if (needed === undefined) return []
    if (key === undefined && needed > MIN_SECRET_BYTES) return [`${name} needs a RECORDINGS_JWT_SECRET`]
    if (secretBytes !== undefined && needed > secretBytes) return [`${name} needs a secret of ${needed} bytes or more`]
    return []
  })
  const expected = symmetric ? Object.keys(SYMMETRIC) : ASYMMETRIC
  if (refused.length === 0) return []
  return [`RECORDINGS_JWT_ALGORITHMS: ${refused.join('; ')}: expected among ${expected.join(', ')}`]
}

const contains = (directory: string, place: string) => {
  const relative = path.relative(directory, place)
  return !(relative === '..' || relative.startsWith(`..${path.sep}`) || path.isAbsolute(relative))
}
