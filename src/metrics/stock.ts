/** What is there at the moment: open uploads, room, the last recording. Asked when somebody asks. */
import { Gauge, type Registry } from 'prom-client'
import type { Database } from '../db/database.ts'
import { lastRecordedAtMs } from '../db/recordings.ts'
import { openUploadsByDoor } from '../db/uploads.ts'
import { wholeUploads } from '../db/uploads-swept.ts'
import type { Library } from '../storage/library.ts'
import type { Roomy, Space } from '../storage/space.ts'
import type { Staging } from '../storage/staging.ts'
import { oneAtATime } from './one-at-a-time.ts'

interface Parts {
  db: Database
  space: Space
  library: Library
  staging: Staging
}

/** What can't be told is left out of an answer, rather than the rest with it. */
const orNothing = (work: Promise<void>): Promise<void> => work.catch(() => {})

export function exposeStock(registers: Registry[], { db, space, library, staging }: Parts): void {
  exposeJobs(registers, db)
  new Gauge({
    name: 'call_recordings_uploads_open',
    help: 'Uploads that are open, by the door that they come by; of all instances on one database.',
    labelNames: ['door'] as const,
    registers,
    collect() {
      return orNothing(openByDoor(this, db))
    },
  })
  new Gauge({
    name: 'call_recordings_last_recording_timestamp_seconds',
    help: 'When the last recording that is there was stored; 0 without one.',
    registers,
    collect() {
      this.reset()
      return orNothing(lastRecordedAtMs(db).then((atMs) => this.set((atMs ?? 0) / 1_000)))
    },
  })
  new Gauge({
    name: 'call_recordings_space_free_bytes',
    help: 'What the file system has free, of the uploads and of the recordings; none of a store without bounds.',
    labelNames: ['place'] as const,
    registers,
    collect() {
      this.reset()
      return orNothing(Promise.all([room(this, 'uploads', staging), room(this, 'recordings', library)]).then(() => {}))
    },
  })
  new Gauge({
    name: 'call_recordings_space_reserved_bytes',
    help: 'Promised to open uploads, and not come yet.',
    registers,
    collect() {
      this.set(space.reservedBytes)
    },
  })
}

/** What the service does by itself, sooner or later. */
function exposeJobs(registers: Registry[], db: Database): void {
  const pending = { kind: 'finish', state: 'pending' } as const
  // Both gauges of a scrape tell of one look.
  const whole = oneAtATime(() => wholeUploads(db))
  new Gauge({
    name: 'call_recordings_jobs',
    help: 'What is to be done by the service itself: finishes of uploads that are whole; of all instances on one database.',
    labelNames: ['kind', 'state'] as const,
    registers,
    collect() {
      this.reset()
      return orNothing(whole().then(({ count }) => this.set(pending, count)))
    },
  })
  new Gauge({
    name: 'call_recordings_oldest_job_timestamp_seconds',
    help: 'Since when the oldest of the jobs has waited; nothing is told where there is none.',
    labelNames: ['kind', 'state'] as const,
    registers,
    collect() {
      this.reset()
      const tell = (atMs: number | undefined) => atMs !== undefined && this.set(pending, atMs / 1_000)
      return orNothing(whole().then(({ oldestAtMs }) => void tell(oldestAtMs)))
    },
  })
}

async function openByDoor(gauge: Gauge<'door'>, db: Database): Promise<void> {
  gauge.reset()
  const rows = await openUploadsByDoor(db)
  for (const door of ['tus', 'legacy', 'simple'] as const) {
    gauge.set({ door }, Number(rows.find((row) => row.door === door)?.count ?? 0))
  }
}

async function room(gauge: Gauge<'place'>, place: string, store: Roomy): Promise<void> {
  const { freeBytes } = await store.room()
  if (freeBytes !== 'unbounded') gauge.set({ place }, freeBytes)
}
