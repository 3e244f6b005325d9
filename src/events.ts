/**
 * What happens to uploads and recordings that an operator wants to count: each event is one function, and its counter
 * and its log line are one thing.
 */
import type { Log } from './log.ts'

const ZERO = {
  uploadCreated: 0,
  uploadResumed: 0,
  uploadFinished: 0,
  uploadTerminated: 0,
  uploadExpired: 0,
  uploadRejected: 0,
  uploadBytesMissing: 0,
  finishFailed: 0,
  mediaGivenUp: 0,
  lockTakenOver: 0,
  sessionLost: 0,
  connectionSilent: 0,
  answerNotTaken: 0,
  strayRemoved: 0,
  sweepFailed: 0,
  recordingDeleted: 0,
  recordingFileMissing: 0,
  recordingFileDamaged: 0,
  nginxCouldNotSend: 0,
  notReady: 0,
  readyAgain: 0,
}

/** How often each event happened since the start. */
export type Counters = Readonly<Record<keyof typeof ZERO, number>>

type Level = 'debug' | 'info' | 'warn' | 'error'

interface UploadFields {
  uploadId: string
  leadId: string
}

export type Events = ReturnType<typeof createEvents>

/** Makes events, each of which is counted and logged. */
const eventsOf =
  (log: Log, counters: Record<keyof typeof ZERO, number>) =>
  <Fields extends object>(name: keyof Counters, level: Level, message: string) =>
  (fields: Fields): void => {
    counters[name]++
    log[level]({ event: name, ...(fields as object) }, message)
  }

/** What a person has to look into. */
const alarmsOf = (event: ReturnType<typeof eventsOf>) => ({
  /** Bytes that were acknowledged are gone. */
  uploadBytesMissing: event<UploadFields & { offset: number }>(
    'uploadBytesMissing',
    'error',
    'ALARM: the bytes of an upload are missing',
  ),
  /** Bytes that were promised are gone. `path` is relative to the recordings directory. */
  recordingFileMissing: event<{ recordingId: string; leadId: string; path: string }>(
    'recordingFileMissing',
    'error',
    'ALARM: the file of a recording is missing',
  ),
  /** The file is there, and not as long as it was stored. */
  recordingFileDamaged: event<{ recordingId: string; leadId: string; path: string }>(
    'recordingFileDamaged',
    'error',
    'ALARM: the file of a recording is damaged: it is not as long as it was stored',
  ),
  /** The listener has it from the service. Its user may not read the file, or its `alias` names another directory. */
  nginxCouldNotSend: event<{ recordingId: string; leadId: string; path: string }>(
    'nginxCouldNotSend',
    'error',
    'ALARM: nginx could not read a recording, and the service sent it: look at the user of nginx and its alias',
  ),
})

export function createEvents(log: Log) {
  const counters = { ...ZERO }
  const event = eventsOf(log, counters)

  return {
    counters: counters as Counters,
    ...alarmsOf(event),

    /** `length` is null while it is deferred. */
    uploadCreated: event<UploadFields & { callerId: string; door: string; length: number | null }>(
      'uploadCreated',
      'info',
      'an upload was created',
    ),
    /** Its client asks how far it is, to go on with it. */
    uploadResumed: event<UploadFields & { offset: number }>('uploadResumed', 'debug', 'an upload goes on'),
    uploadFinished: event<UploadFields & { callLogId: string; recordingId: string; size: number }>(
      'uploadFinished',
      'info',
      'an upload became a recording',
    ),
    uploadTerminated: event<UploadFields & { callerId: string }>(
      'uploadTerminated',
      'info',
      'an upload was ended by its client',
    ),
    uploadExpired: event<UploadFields & { offset: number }>('uploadExpired', 'info', 'an upload expired'),
    uploadRejected: event<UploadFields & { size: number }>(
      'uploadRejected',
      'warn',
      'an upload was not what its client had promised',
    ),
    /** The bytes are kept, and the next request or the sweep tries again. */
    finishFailed: event<UploadFields & { err: unknown }>(
      'finishFailed',
      'error',
      'an upload could not be finished yet',
    ),
    /** The recording is stored all the same: its type goes by its first bytes, its duration is null. */
    mediaGivenUp: event<UploadFields & { size: number; reason: string; err?: unknown }>(
      'mediaGivenUp',
      'warn',
      'the type and duration of an upload could not be found out in time',
    ),
    lockTakenOver: event<{ uploadId: string }>(
      'lockTakenOver',
      'info',
      'an upload was taken over from a dead connection',
    ),
    sessionLost: event<{ err: unknown }>('sessionLost', 'warn', 'the session with PostgreSQL was lost'),
    strayRemoved: event<{ from: 'uploads' | 'recordings'; file: string; bytes: number }>(
      'strayRemoved',
      'info',
      'bytes that belong to nothing were removed',
    ),
    sweepFailed: event<{ err: unknown }>('sweepFailed', 'error', 'a step of the sweep failed; it is tried again'),
    /** The bytes that came are kept. */
    connectionSilent: event<{ method: string | undefined; url: string }>(
      'connectionSilent',
      'info',
      'a request was ended: its body was silent for too long',
    ),
    answerNotTaken: event<{ method: string | undefined; url: string }>(
      'answerNotTaken',
      'info',
      'an answer was ended: nobody took it for too long',
    ),
    recordingDeleted: event<{ recordingId: string; leadId: string; callerId: string }>(
      'recordingDeleted',
      'info',
      'a recording was deleted',
    ),
    /** Told when the reasons change, as long as somebody asks. */
    notReady: event<{ reasons: readonly string[]; err: unknown }>('notReady', 'warn', 'the service is not ready'),
    readyAgain: event<object>('readyAgain', 'info', 'the service is ready again'),
  }
}
