/**
 * An S3 server for tests: Swift, started when the first test file of a run asks for it and shared by the others, each with
 * buckets of its own.
 *
 * Needs `swift-proxy swift-account swift-container swift-object memcached`. Buckets are looked into by Swift's own
 * protocol, so that what S3 stored is seen from another side.
 */
import { randomBytes } from 'node:crypto'
import { inject, test } from 'vitest'
import { ACCESS_KEY, hasSwift, SECRET_KEY } from './swift.ts'

export const hasS3 = hasSwift

/** One line where it is missing: a skipped test, under CI a failed one. */
export function saysWhereS3IsMissing(): void {
  if (hasS3) return
  const title =
    'an S3 server is there (apt-get install swift-proxy swift-account swift-container swift-object memcached)'
  if (process.env.CI) {
    test(title, () => {
      throw new Error('Swift is missing')
    })
  } else test.skip(title, () => {})
}

/** Where the SDK looks for them first. */
export const S3_CREDENTIALS = { AWS_ACCESS_KEY_ID: ACCESS_KEY, AWS_SECRET_ACCESS_KEY: SECRET_KEY } as const

/** For stores that are opened in the process of the tests. */
export const withCredentials = (): void => void Object.assign(process.env, S3_CREDENTIALS)

export interface StoredObject {
  name: string
  bytes: number
}

export interface Bucket {
  readonly name: string
  /** Of its server. */
  readonly endpoint: string
  /** What lies in it, by name; of multipart uploads under way the parts are elsewhere. */
  objects(prefix?: string): Promise<StoredObject[]>
  /** Parts of multipart uploads, finished or not. */
  parts(): Promise<StoredObject[]>
  read(name: string): Promise<Buffer | undefined>
  remove(name: string): Promise<void>
  /** From now on it takes no more bytes than this in all; undefined: as many as come. */
  limit(bytes: number | undefined): Promise<void>
}

export interface S3Server {
  readonly endpoint: string
  /** A new bucket. */
  bucket(): Promise<Bucket>
}

/** Swift's own protocol (v1), for what tests look at. */
async function authorized(endpoint: string) {
  const res = await fetch(`${endpoint}/auth/v1.0`, {
    headers: { 'x-auth-user': ACCESS_KEY, 'x-auth-key': SECRET_KEY },
  })
  if (!res.ok) throw new Error(`no token: ${res.status}`)
  const account = res.headers.get('x-storage-url') as string
  const token = res.headers.get('x-auth-token') as string
  return (method: string, name: string, headers: Record<string, string> = {}) =>
    fetch(`${account}/${name}`, { method, headers: { 'x-auth-token': token, ...headers } })
}

type Ask = Awaited<ReturnType<typeof authorized>>

async function listed(ask: Ask, container: string, prefix: string): Promise<StoredObject[]> {
  const all: StoredObject[] = []
  for (;;) {
    const marker = all.at(-1)?.name ?? ''
    const query = new URLSearchParams({ format: 'json', prefix, marker })
    const res = await ask('GET', `${container}?${query}`)
    if (res.status === 404) return []
    const page = (await res.json()) as StoredObject[]
    if (page.length === 0) return all
    all.push(...page.map(({ name, bytes }) => ({ name, bytes })))
  }
}

const namePath = (bucket: string, name: string) => `${bucket}/${name.split('/').map(encodeURIComponent).join('/')}`

function bucketOf(endpoint: string, ask: Ask, name: string): Bucket {
  return {
    name,
    endpoint,
    objects: (prefix = '') => listed(ask, name, prefix),
    parts: () => listed(ask, `${name}+segments`, ''),
    async read(object) {
      const res = await ask('GET', namePath(name, object))
      const bytes = Buffer.from(await res.arrayBuffer())
      return res.ok ? bytes : undefined
    },
    async remove(object) {
      await ask('DELETE', namePath(name, object))
    },
    async limit(bytes) {
      const res = await ask('POST', name, { 'x-container-meta-quota-bytes': bytes === undefined ? '' : String(bytes) })
      if (!res.ok) throw new Error(`no quota: ${res.status}`)
    },
  }
}

/** The server; it ends with the run. */
export async function startS3(): Promise<S3Server> {
  const res = await fetch(inject('swiftStarter'))
  const endpoint = await res.text()
  if (!res.ok) throw new Error(endpoint)
  const ask = await authorized(endpoint)
  return {
    endpoint,
    async bucket() {
      const name = `bucket-${randomBytes(6).toString('hex')}`
      const made = await ask('PUT', name)
      if (!made.ok) throw new Error(`no bucket was made: ${made.status}`)
      return bucketOf(endpoint, ask, name)
    },
  }
}
