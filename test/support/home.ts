/**
 * What the tests run over: SQLite and the disk, or else, by the environment, PostgreSQL (`TEST_DATABASE=postgres`) and a
 * bucket (`TEST_STORE=s3`). Each data directory has a database and a bucket of its own.
 */
import { test } from 'vitest'
import type { Bucket } from './s3.ts'

const databases = new Map<string, Promise<string>>()
const buckets = new Map<string, Promise<Bucket>>()

export const isPostgres = process.env.TEST_DATABASE === 'postgres'
export const isS3 = process.env.TEST_STORE === 's3'

async function newDatabase(): Promise<string> {
  // No test but those over PostgreSQL loads any of it.
  const { postgres } = await import('./postgres.ts')
  return (await postgres()).database()
}

async function newBucket(): Promise<Bucket> {
  const { startS3, withCredentials } = await import('./s3.ts')
  withCredentials()
  return (await startS3()).bucket()
}

/** A test of what is the disk's or the SQLite file's alone: where there is neither, it is skipped. */
export const onDisk = test.skipIf(isPostgres || isS3)

/** A test of what is the bucket's alone: over the disk, it is skipped. */
export const inBucket = test.skipIf(!isS3)

/** The address of a data directory's database; undefined for the file in it. */
export async function databaseUrlOf(dir: string): Promise<string | undefined> {
  if (!isPostgres) return undefined
  const url = databases.get(dir) ?? newDatabase()
  databases.set(dir, url)
  return url
}

function bucketOf(dir: string): Promise<Bucket> {
  const bucket = buckets.get(dir) ?? newBucket()
  buckets.set(dir, bucket)
  return bucket
}

/** What instances are given that share a database. */
export const SHARED_SECRETS = { RECORDINGS_PLAYBACK_LINK_SECRET: 'a secret of the links, the same for all instances' }

/** The settings of a service over it. */
export async function homeOf(dir: string): Promise<Record<string, string>> {
  const url = await databaseUrlOf(dir)
  if (url === undefined) return {}
  const settings = { RECORDINGS_DATABASE_URL: url, ...SHARED_SECRETS }
  if (!isS3) return settings
  const { S3_CREDENTIALS } = await import('./s3.ts')
  const { name, endpoint } = await bucketOf(dir)
  return {
    ...settings,
    ...S3_CREDENTIALS,
    RECORDINGS_STORE: `s3://${name}`,
    RECORDINGS_S3_ENDPOINT: endpoint,
  }
}

/** What lies in the bucket's folder, by its name there; undefined where the folder is one of the disk. */
export async function objectsIn(dir: string, folder: 'uploads' | 'recordings'): Promise<string[] | undefined> {
  if (!isS3) return undefined
  const objects = await (await bucketOf(dir)).objects(`${folder}/`)
  return objects.map(({ name }) => name.slice(folder.length + 1))
}
