/** Before the tests that run over PostgreSQL and a bucket: one S3 server for all files, since its start takes seconds. */
import { hasPostgres } from './postgres.ts'
import { hasS3, startS3 } from './s3.ts'

export default async function setup(): Promise<(() => Promise<void>) | undefined> {
  if (!hasPostgres || !hasS3) throw new Error('PostgreSQL or Swift is missing: see .ci/run for the packages')
  const ends: (() => Promise<void>)[] = []
  const { endpoint } = await startS3((end) => ends.push(end))
  process.env.TEST_S3_ENDPOINT = endpoint
  return async () => {
    for (const end of ends) await end()
  }
}
