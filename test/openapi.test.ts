/** The contract at /openapi.json: a valid document, of the routes that there are and of no other. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { Validator } from '@seriousme/openapi-schema-validator'
import express, { type NextFunction, type Request, type Response, type Router } from 'express'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { STATUS } from '../src/errors.ts'
import { contractRoutes } from '../src/http/contract-routes.ts'
import { MEANING } from '../src/http/error-meanings.ts'
import { contractOf, operationsOf } from './support/contract.ts'
import { startService } from './support/service.ts'

/** What each router was given, since a router keeps no path that it mounts. */
const mounted = new Map<object, { path: string; inner: Router }[]>()
const routed = new Map<object, string[]>()

const add = <T>(map: Map<object, T[]>, key: object, value: T) => map.set(key, [...(map.get(key) ?? []), value])

const prototype = express.Router.prototype as Router
const { use, route } = prototype
const textsOf = (paths: unknown): string[] => [paths].flat().filter((path) => typeof path === 'string')
vi.spyOn(prototype, 'use').mockImplementation(function (this: Router, ...given: unknown[]) {
  const paths = typeof given[0] === 'function' ? ['/'] : textsOf(given[0])
  for (const path of paths) {
    for (const inner of given.flat().filter((each): each is Router => typeof each === 'function' && 'stack' in each)) {
      add(mounted, this, { path, inner })
    }
  }
  return use.apply(this, given as Parameters<typeof use>)
} as typeof use)
vi.spyOn(prototype, 'route').mockImplementation(function (this: Router, path: string) {
  const made = route.call(this, path)
  for (const each of textsOf(path)) add(routed, this, each)
  return made
} as typeof route)

const harness = await startService()
vi.restoreAllMocks()
const document = await contractOf(harness.url)
const lead = await harness.lead()

/** `/api/leads/{lead_id}`, for `/api/leads/:leadId`. */
const named = (path: string) =>
  path
    .replace(/\/+/g, '/')
    .replace(/(.)\/$/, '$1')
    .replace(/:(\w+)/g, (_, name: string) => `{${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}}`)

/** The addresses of all routes, but for the one that answers what pages on other origins ask ahead. */
function addresses(router: object, prefix = ''): string[] {
  const own = (routed.get(router) ?? []).map((path) => named(prefix + path))
  const inner = (mounted.get(router) ?? []).flatMap(({ path, inner }) => addresses(inner, `${prefix}${path}/`))
  return [...own, ...inner].filter((path) => path !== '/{*path}')
}

const outermost = [...mounted.keys()].filter(
  (router) => ![...mounted.values()].flat().some(({ inner }) => inner === router),
)
const paths = [...new Set(outermost.flatMap((router) => addresses(router)))].sort()

describe('the contract', () => {
  test('is a valid document of OpenAPI 3.1', async () => {
    const validator = new Validator()
    expect(await validator.validate(structuredClone(document) as never)).toEqual({ valid: true })
    expect(validator.version).toBe('3.1')
  })

  test('has the addresses of all routes, and no other', () => {
    expect(paths.length).toBeGreaterThan(10)
    expect(Object.keys(document.paths).sort()).toEqual(paths)
  })

  test.for(paths)('has the methods that %s takes, and no other', async (path) => {
    const at = path
      .replace('{lead_id}', lead.leadId)
      .replace('{call_log_id}', lead.callLogId)
      .replace('{file}', 'open.js')
      .replace(/\{\w+\}/, 'any')
    const res = await harness.api('PROPFIND', at, { headers: { 'tus-resumable': '1.0.0' } })
    expect(res.status).toBe(405)
    const allowed = (res.headers.get('allow') ?? '').split(', ').map((method) => method.toLowerCase())
    const described = Object.keys(document.paths[path] ?? {})
    // HEAD comes with GET, and OPTIONS for pages on another origin: of the tus door alone they say more.
    const implied = ['options', ...(described.includes('get') ? ['head'] : [])]
    const told = allowed.filter((method) => !implied.includes(method) || described.includes(method))
    expect(described.sort()).toEqual(told.sort())
  })

  test('names each operation once, with a tag that is described, and says what it is for', () => {
    const operations = operationsOf(document) as unknown as { operationId: string; tags: string[]; summary: string }[]
    const ids = operations.map(({ operationId }) => operationId)
    expect(new Set(ids).size).toBe(ids.length)
    const { tags } = document as unknown as { tags: { name: string }[] }
    expect(new Set(operations.flatMap((each) => each.tags))).toEqual(new Set(tags.map(({ name }) => name)))
    expect(operations.filter(({ summary }) => !summary)).toEqual([])
  })

  test('has every error code with its meaning', () => {
    const { ErrorCode, Problem } = document.components.schemas
    const codes = Object.entries(MEANING).map(([code, description]) => ({ const: code, description }))
    expect(ErrorCode).toMatchObject({ oneOf: codes })
    expect(Problem).toMatchObject({ properties: { code: { enum: Object.keys(STATUS) } } })
  })

  test('lets answers gain members, and refuses unknown ones in requests', () => {
    const { schemas } = document.components
    expect(schemas.Recording).not.toHaveProperty('additionalProperties')
    const put = JSON.stringify(document.paths['/api/leads/{lead_id}']?.put)
    expect(put).toContain('"additionalProperties":false')
  })

  test('is JSON with a strong tag', async () => {
    const first = await fetch(`${harness.url}/openapi.json`)
    expect(first.headers.get('content-type')).toBe('application/json; charset=utf-8')
    expect(first.headers.get('etag')).toMatch(/^"/)
  })

  test('is made again where that failed before', async () => {
    let attempts = 0
    const publicUrl = {
      get href() {
        attempts += 1
        if (attempts === 1) throw new Error('no memory')
        return 'https://calls.example/'
      },
    } as URL
    const app = express().use(contractRoutes({ publicUrl }))
    app.use((_error: unknown, _req: Request, res: Response, _next: NextFunction) => void res.sendStatus(500))
    const listener = app.listen(0, '127.0.0.1')
    onTestFinished(() => void listener.close())
    await once(listener, 'listening')
    const address = `http://127.0.0.1:${(listener.address() as AddressInfo).port}/openapi.json`
    expect([(await fetch(address)).status, (await fetch(address)).status]).toEqual([500, 200])
  })

  test('names the address that clients reach the service at', async () => {
    await harness.restart({ RECORDINGS_PUBLIC_URL: 'https://calls.example/recordings/' })
    expect(await contractOf(harness.url)).toMatchObject({ servers: [{ url: 'https://calls.example/recordings' }] })
  })
})
