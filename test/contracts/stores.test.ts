import { beforeAll, describe } from 'vitest'
import { diskStores } from '../support/disk-stores.ts'
import { hasS3, type S3Server, saysWhereS3IsMissing, startS3 } from '../support/s3.ts'
import { s3Stores } from '../support/s3-stores.ts'
import { libraryContract } from './library.ts'
import { stagingContract } from './staging.ts'

stagingContract('a disk', diskStores)
libraryContract('a disk', diskStores)

saysWhereS3IsMissing()

describe.skipIf(!hasS3)('over a real server', () => {
  let server: S3Server
  beforeAll(async () => {
    server = await startS3()
  })
  stagingContract('S3', () => s3Stores(server))
  libraryContract('S3', () => s3Stores(server))
})
