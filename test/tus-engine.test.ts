/**
 * What the door relies on inside @tus/server. An upgrade of the library that breaks one of these breaks uploads: read
 * what changed before changing the test.
 */
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { DataStore, ERRORS, type Lock, Server, Upload } from '@tus/server'
import { beforeEach, describe, expect, test } from 'vitest'
import { createEngine, type EngineMethod } from '../src/doors/tus/engine.ts'
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
  override async getUpload(id: string) {
    log.push('getUpload')
    const upload = this.uploads.get(id)
    if (!upload) throw ERRORS.FILE_NOT_FOUND
    return new Upload({ ...upload, creation_date: '2020-01-01T00:00:00.000Z' })
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

function engineOf() {
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
    getFileIdFromRequest: (req: Request) => new URL(req.url).pathname.split('/').pop(),
    onResponseError: async (req: Request, error: unknown) => {
      expect((req as unknown as { runtime: object }).runtime).toBeDefined()
      errors.push(error)
      return { status_code: 499, body: 'ours' }
    },
  })
  const run = (method: EngineMethod, url: string, headers: Record<string, string> = {}) => {
    const { req, res } = request(method, url, headers)
    return engine.handle(method, forEngine(req.headers), req, res)
  }
  return { run, store, errors }
}

describe('the library calls', () => {
  test('for HEAD and DELETE: the store under the lock', async () => {
    const { run, store } = engineOf()
    store.uploads.set('a', new Upload({ id: 'a', size: 10, offset: 2 }))
    const head = await run('HEAD', '/files/a?query=1/2', { 'x-forwarded-proto': 'gopher', 'upload-length': '1e3' })
    expect([head.status, head.headers.get('upload-offset'), head.headers.get('upload-length')]).toEqual([
      200,
      '2',
      '10',
    ])
    expect(head.headers.get('cache-control')).toBe('no-store')
    expect((await run('DELETE', '/files/a')).status).toBe(204)
    expect(log).toEqual(['lock a', 'getUpload', 'unlock', 'lock a', 'remove', 'unlock'])
  })
  test('for a length not known: HEAD says so', async () => {
    const { run, store } = engineOf()
    store.uploads.set('a', new Upload({ id: 'a', offset: 2 }))
    const head = await run('HEAD', '/files/a')
    expect([head.headers.get('upload-defer-length'), head.headers.get('upload-length')]).toEqual(['1', null])
  })
})

describe('the library tells', () => {
  test('of an unknown upload by the error that the door knows', async () => {
    const { run, errors } = engineOf()
    const res = await run('HEAD', '/files/b')
    expect(errors).toEqual([ERRORS.FILE_NOT_FOUND])
    expect(errors[0]).toBe(ERRORS.FILE_NOT_FOUND)
    expect([res.status, res.text, res.ok]).toEqual([499, 'ours', false])
  })
  test('of our own errors as they are, and gives the lock back', async () => {
    const ours = new Error('ours')
    const { run, store, errors } = engineOf()
    store.getUpload = () => Promise.reject(ours)
    store.remove = () => Promise.reject(ours)
    await run('HEAD', '/files/a')
    await run('DELETE', '/files/a')
    expect(errors).toEqual([ours, ours])
    expect(errors[0]).toBe(ours)
    expect(log).toEqual(['lock a', 'unlock', 'lock a', 'unlock'])
  })
})

test('the library asks nothing of a request but what the engine gives it', async () => {
  const GIVEN = ['method', 'url', 'headers', 'runtime', 'node']
  const asked = new Set<string>()
  const handleWeb = Server.prototype.handleWeb
  const { run, store } = engineOf()
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
    await run('HEAD', '/files/a')
    await run('DELETE', '/files/a')
  } finally {
    Server.prototype.handleWeb = handleWeb
  }
  expect([...asked].filter((name) => !GIVEN.includes(name))).toEqual([])
})
