/**
 * Requests: how many, how long, how many bytes, and what was refused. Observed when each has ended, so the objects that
 * name a series are made once and kept.
 */
import { Counter, Histogram, type Registry } from 'prom-client'
import { METHODS } from '../http/methods.ts'
import type { RequestEnded } from '../http/request-log.ts'
import { OTHER, routeName } from '../http/route-names.ts'

/** Seconds: a range from memory takes one, a finish with its syncs some tens, a body on a phone's line any number. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60]

/** By the route's name, the way that bytes take; a form says by itself that it is one. */
const DOORS: Readonly<Record<string, string>> = {
  '/api/leads/{lead_id}/uploads': 'tus',
  '/api/leads/{lead_id}/uploads/{upload_id}': 'tus',
  '/api/leads/{lead_id}/recordings/{recording_id}': 'playback',
}
const RECORDINGS = '/api/leads/{lead_id}/recordings'

/** Without a status: the client left before there was one. */
const NONE = 'none'

interface Series {
  readonly request: { route: string; method: string; status: string }
  readonly door: { door: string }
}

/** @returns what hears of each request that has ended */
export function observeRequests(registers: Registry[]): (ended: RequestEnded) => void {
  const durations = new Histogram({
    name: 'call_recordings_http_request_duration_seconds',
    help: 'Requests by route, method and status (none: the client left before one was sent), from head to end.',
    labelNames: ['route', 'method', 'status'] as const,
    buckets: BUCKETS,
    registers,
  })
  const received = new Counter({
    name: 'call_recordings_received_bytes_total',
    help: 'Bytes that came in on connections, heads included, by the door of their request.',
    labelNames: ['door'] as const,
    registers,
  })
  const sent = new Counter({
    name: 'call_recordings_sent_bytes_total',
    help: 'Bytes that went out on connections, heads included, by the door of their request.',
    labelNames: ['door'] as const,
    registers,
  })
  const refused = new Counter({
    name: 'call_recordings_refused_requests_total',
    help: 'Requests that were answered with an error, by the door and the code of the contract.',
    labelNames: ['door', 'code'] as const,
    registers,
  })
  const seriesOf = keptSeries()

  return ({ method, url, status, seconds, bytesIn, bytesOut, code, door }) => {
    const series = seriesOf(method, url, status, door)
    durations.observe(series.request, seconds)
    received.inc(series.door, Math.max(bytesIn, 0))
    sent.inc(series.door, Math.max(bytesOut, 0))
    if (code !== undefined) refused.inc({ door: series.door.door, code })
  }
}

/** The labels of a request; routes, methods and statuses are few, whatever is asked for. */
function keptSeries() {
  const byRoute = new Map<string, Map<string, Map<number, Series>>>()

  return (method: string, url: string, status: number | undefined, told: string | undefined): Series => {
    const route = routeName(url)
    const known = METHODS.has(method) ? method : OTHER
    const door = told ?? doorOf(route, known)
    const byDoor = inMap(byRoute, route, () => new Map<string, Map<number, Series>>())
    const byStatus = inMap(byDoor, told ?? known, () => new Map<number, Series>())
    return inMap(byStatus, status ?? 0, () => ({
      request: { route, method: known, status: status === undefined ? NONE : String(status) },
      door: { door },
    }))
  }
}

const doorOf = (route: string, method: string): string =>
  DOORS[route] ?? (route === RECORDINGS && method === 'POST' ? 'legacy' : 'api')

function inMap<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const found = map.get(key)
  if (found !== undefined) return found
  const made = make()
  map.set(key, made)
  return made
}
