/** A staging and a library in a bucket of their own; the caller closes them. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { openS3Stores } from '../../src/storage/s3/s3-stores.ts'
import { type Bucket, type S3Server, withCredentials } from './s3.ts'

export const MEMORY_BYTES = 64 * 1024 * 1024

/** @param endpoint where to turn to, if not to the server itself */
export async function s3Stores(server: S3Server, endpoint = server.endpoint) {
  withCredentials()
  const scratchDirectory = mkdtempSync(path.join(tmpdir(), 'scratch-'))
  const bucket: Bucket = await server.bucket()
  const opened: { close(): void }[] = []
  const open = async () => {
    const settings = { bucket: bucket.name, prefix: 'calls/', endpoint, pathStyle: true, memoryBytes: MEMORY_BYTES }
    const stores = await openS3Stores(settings, scratchDirectory)
    opened.push(stores)
    return stores
  }
  const stores = await open()
  const others = [await open(), await open(), await open()]
  let next = 0
  return {
    ...stores,
    bucket,
    keepsWhatIsHeld: false,
    scratchDirectory,
    open,
    /** The staging as another instance has it: it knows nothing. */
    again: () => others[next++ % others.length]?.staging ?? stores.staging,
    async close() {
      for (const each of opened) each.close()
      rmSync(scratchDirectory, { recursive: true, force: true })
    },
  }
}
