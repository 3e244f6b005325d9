/** The home in a bucket, put together: what is loaded only where one is configured. */
import type { Config } from '../../config/config.ts'
import { ObjectLibrary } from './object-library.ts'
import { ObjectStaging } from './object-staging.ts'
import { createProbe } from './probe.ts'
import { connectS3, type ObjectStore } from './s3-client.ts'

export interface S3Stores {
  store: ObjectStore
  staging: ObjectStaging
  library: ObjectLibrary
  close(): void
}

/** @param scratchDirectory of this machine, for files without a name; it has to be there */
export async function openS3Stores(
  settings: NonNullable<Config['store']>,
  scratchDirectory: string,
): Promise<S3Stores> {
  const store = await connectS3(settings)
  const probe = createProbe(store)
  const staging = new ObjectStaging({ store, probe, memoryBytes: settings.memoryBytes, scratchDirectory })
  const library = new ObjectLibrary({ store, probe, scratchDirectory })
  return {
    store,
    staging,
    library,
    close() {
      staging.stop()
      library.close()
      store.close()
    },
  }
}
