/** How a bucket is laid out under its prefix. */

/** Bytes on their way: `uploads/ID/POSITION-NONCE`. */
export const UPLOADS = 'uploads/'
/** `recordings/LEAD/NAME.ext`. */
export const RECORDINGS = 'recordings/'
/** Recordings set aside, by the day: `quarantine/DAY/LEAD/NAME.ext`. */
export const QUARANTINE = 'quarantine/'
/** Written now and then, to see whether a write is taken. */
export const PROBE = `${UPLOADS}.probe`
/** Folders of `check-store`. */
export const CHECK = `${UPLOADS}.check-`
/** Under `uploads/`, what is of no upload. */
export const MOMENTARY = /^\.(probe|check-\w+\/\w+)$/

/** @throws when the key would lead out of the recordings */
export function recordingAt(key: string): string {
  if (key.split('/').some((part) => part === '' || part === '.' || part === '..')) {
    throw new Error(`the key ${JSON.stringify(key)} leaves the recordings`)
  }
  return RECORDINGS + key
}
