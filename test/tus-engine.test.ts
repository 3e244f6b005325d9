/**
 * What the door relies on inside @tus/server. An upgrade of the library that breaks one of these breaks uploads: read
 * what changed before changing the test.
 */
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { DataStore, ERRORS, type Lock, Server, Upload } from '@tus/server'
import { beforeEach, describe, expect, test } from 'vitest'
import { createEngine } from '../src/doors/tus/engine.ts'
import { forEngine } from '../src/doors/tus/headers.ts'

/** What the library did, in order. */
let log: string[]
beforeEach(() => {
  log = []
})

class Store extends DataStore {
  readonly uploads = new Map<string, Upload>()

  constructor() {
    super()
    this.extensions = ['creation', 'creation-with-upload', 'creation-defer-length', 'termination', 'expiration']
  }
  override async create(upload: Upload) {
    log.push('create')
    this.uploads.set(upload.id, upload)
    return upload
  }
  override async getUpload(id: string) {
    log.push('getUpload')
    const upload = this.uploads.get(id)
    if (!upload) throw ERRORS.FILE_NOT_FOUND
    return new Upload({ ...upload, creation_date: '2020-01-01T00:00:00.000Z' })
  }
  override async declareUploadLength(id: string, length: number) {
    log.push(`declareUploadLength ${length}`)
    const upload = this.uploads.get(id)
    if (upload) upload.size = length
  }
  override async remove(id: string) {
    log.push('remove')
    this.uploads.delete(id)
  }
}

/** A request as Node makes it, headers in lower case. */
function request(method: string, url: string, headers: Record<string, string>) {
  const req = new IncomingMessage(new Socket())
  Object.assign(req, { method, url, headers: { 'tus-resumable': '1.0.0', ...headers } })
  return { req, res: new ServerResponse(req) }
}

function engineOf(write: (maxBytes: number) => number, overrides: { onUploadFinish?: () => Promise<object> } = {}) {
  const store = new Store()
  const errors: unknown[] = []
  const engine = createEngine({
    path: '/',
    datastore: store,
    locker: {
      newLock: (id: string): Lock => ({
        lock: async (signal, cancel) => {
          expect(signal).toBeInstanceOf(AbortSignal)
          expect(cancel).toBeTypeOf('function')
          log.push(`lock ${id}`)
        },
        unlock: async () => void log.push('unlock'),
      }),
    },
    maxSize: 1_000,
    namingFunction: () => 'made',
    getFileIdFromRequest: (req: Request) => new URL(req.url).pathname.split('/').pop(),
    generateUrl: (_req: Request, { id }: { id: string }) => `http://here/files/${id}`,
    onUploadCreate: async (req: Request, upload: Upload) => {
      log.push(`onUploadCreate ${upload.size}`)
      expect((req as unknown as { runtime: object }).runtime).toBeDefined()
      return {}
    },
    onUploadFinish: async (_req: Request, upload: Upload) => {
      log.push(`onUploadFinish ${upload.offset}`)
      return overrides.onUploadFinish?.() ?? {}
    },
    onResponseError: async (_req: Request, error: unknown) => {
      errors.push(error)
      return { status_code: 499, body: 'ours' }
    },
    writeBody: async (body, upload, maxBytes, signal) => {
      expect(body).toBeInstanceOf(IncomingMessage)
      expect(signal).toBeInstanceOf(AbortSignal)
      expect(signal.aborted).toBe(false)
      log.push(`writeBody at ${upload.offset} of ${upload.size}, ${maxBytes} at most`)
      return upload.offset + write(maxBytes)
    },
  })
  const run = (method: string, url: string, headers: Record<string, string> = {}) => {
    const { req, res } = request(method, url, headers)
    return engine.handle(method, forEngine(req.headers), req, res)
  }
  return { run, store, errors }
}

const PATCH = { 'content-type': 'application/offset+octet-stream' }

describe('the library calls', () => {
  test('for a creation: the hook before the lock, the lock before the store', async () => {
    const { run } = engineOf(() => 0)
    const res = await run('POST', '/files', { 'upload-length': '10' })
    expect([res.status, res.headers.get('location')]).toEqual([201, 'http://here/files/made'])
    expect(log).toEqual(['onUploadCreate 10', 'lock made', 'create', 'unlock'])
  })
  test('for a creation with upload: the writing under the lock, the finish after it', async () => {
    const { run } = engineOf((maxBytes) => maxBytes)
    const res = await run('POST', '/files', { 'upload-length': '10', 'content-length': '10', ...PATCH })
    expect([res.status, res.headers.get('upload-offset')]).toEqual([201, '10'])
    expect(log).toEqual([
      'onUploadCreate 10',
      'lock made',
      'create',
      'writeBody at 0 of 10, 10 at most',
      'unlock',
      'onUploadFinish 10',
    ])
  })
  test('for a PATCH: the row under the lock, the finish after it, once the offset is the length', async () => {
    const { run, store } = engineOf(() => 4)
    store.uploads.set('a', new Upload({ id: 'a', size: 10, offset: 2 }))
    const first = await run('PATCH', '/files/a?query=1/2', { ...PATCH, 'upload-offset': '2', 'content-length': '4' })
    expect([first.status, first.headers.get('upload-offset')]).toEqual([204, '6'])
    store.uploads.set('a', new Upload({ id: 'a', size: 10, offset: 6 }))
    const last = await run('PATCH', '/files/a', { ...PATCH, 'upload-offset': '6' })
    expect([last.status, last.headers.get('upload-offset')]).toEqual([204, '10'])
    expect(log).toEqual([
      ...['lock a', 'getUpload', 'writeBody at 2 of 10, 4 at most', 'unlock'],
      ...['lock a', 'getUpload', 'writeBody at 6 of 10, 4 at most', 'unlock', 'onUploadFinish 10'],
    ])
  })
  test('for a length that comes late: the declaration under the lock, before the bytes', async () => {
    const { run, store } = engineOf(() => 5)
    store.uploads.set('a', new Upload({ id: 'a', offset: 0 }))
    await run('PATCH', '/files/a', { ...PATCH, 'upload-offset': '0', 'upload-length': '5', 'content-length': '5' })
    expect(log).toEqual([
      'lock a',
      'getUpload',
      'declareUploadLength 5',
      'writeBody at 0 of 5, 5 at most',
      'unlock',
      'onUploadFinish 5',
    ])
  })
  test('for a length not known, the largest size bounds the body', async () => {
    const { run, store } = engineOf(() => 1)
    store.uploads.set('a', new Upload({ id: 'a', offset: 300 }))
    await run('PATCH', '/files/a', { ...PATCH, 'upload-offset': '300' })
    expect(log).toContain('writeBody at 300 of undefined, 700 at most')
  })
  test('for HEAD and DELETE: the store under the lock', async () => {
    const { run, store } = engineOf(() => 0)
    store.uploads.set('a', new Upload({ id: 'a', size: 10, offset: 2 }))
    const head = await run('HEAD', '/files/a')
    expect([head.status, head.headers.get('upload-offset'), head.headers.get('upload-length')]).toEqual([
      200,
      '2',
      '10',
    ])
    expect(head.headers.get('cache-control')).toBe('no-store')
    expect((await run('DELETE', '/files/a')).status).toBe(204)
    expect(log).toEqual(['lock a', 'getUpload', 'unlock', 'lock a', 'remove', 'unlock'])
  })
})

describe('the library tells', () => {
  const upload = new Upload({ id: 'a', size: 10, offset: 2 })

  test.for([
    ['another offset', 'a', { 'upload-offset': '3' }, ERRORS.INVALID_OFFSET],
    ['too long a body', 'a', { 'upload-offset': '2', 'content-length': '9' }, ERRORS.ERR_SIZE_EXCEEDED],
    ['a second length', 'a', { 'upload-offset': '2', 'upload-length': '11' }, ERRORS.INVALID_LENGTH],
    ['an unknown upload', 'b', { 'upload-offset': '0' }, ERRORS.FILE_NOT_FOUND],
  ] as const)('of %s by the error that the door knows', async ([, id, headers, error]) => {
    const { run, store, errors } = engineOf(() => 0)
    store.uploads.set('a', upload)
    const res = await run('PATCH', `/files/${id}`, { ...PATCH, ...headers })
    expect(errors).toEqual([error])
    expect(errors[0]).toBe(error)
    expect([res.status, res.text]).toEqual([499, 'ours'])
  })
  test('of a creation over the limit as well', async () => {
    const { run, errors } = engineOf(() => 0)
    await run('POST', '/files', { 'upload-length': '1001' })
    expect(errors[0]).toBe(ERRORS.ERR_MAX_SIZE_EXCEEDED)
    expect(log).toEqual([])
  })
  test('of our own errors as they are, from wherever they were thrown', async () => {
    const ours = new Error('ours')
    const thrown = () => {
      throw ours
    }
    const { run, store, errors } = engineOf(thrown)
    store.uploads.set('a', upload)
    await run('PATCH', '/files/a', { ...PATCH, 'upload-offset': '2' })
    const finishing = engineOf(() => 8, { onUploadFinish: () => Promise.reject(ours) })
    finishing.store.uploads.set('a', upload)
    await finishing.run('PATCH', '/files/a', { ...PATCH, 'upload-offset': '2' })
    expect([...errors, ...finishing.errors]).toEqual([ours, ours])
    expect(errors[0]).toBe(ours)
    expect(log.filter((entry) => entry.startsWith('lock'))).toHaveLength(2)
    expect(log.filter((entry) => entry === 'unlock')).toHaveLength(2)
  })
})

test('the library asks nothing of a request but what the engine gives it', async () => {
  const GIVEN = ['method', 'url', 'headers', 'body', 'runtime', 'node']
  const asked = new Set<string>()
  const handleWeb = Server.prototype.handleWeb
  const { run, store } = engineOf((maxBytes) => Math.min(maxBytes, 8))
  store.uploads.set('a', new Upload({ id: 'a', size: 10, offset: 2 }))
  Server.prototype.handleWeb = function (request) {
    const spied = new Proxy(request, {
      get(target, name) {
        if (typeof name === 'string') asked.add(name)
        return Reflect.get(target, name)
      },
    })
    return handleWeb.call(this, spied)
  }
  try {
    await run('POST', '/files', { 'upload-length': '10', 'content-length': '10', ...PATCH })
    await run('PATCH', '/files/a', { ...PATCH, 'upload-offset': '2' })
    await run('HEAD', '/files/a')
    await run('DELETE', '/files/a')
  } finally {
    Server.prototype.handleWeb = handleWeb
  }
  expect([...asked].filter((name) => !GIVEN.includes(name))).toEqual([])
})
