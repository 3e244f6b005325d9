/**
 * Whether the service can do its work, and if not, why: what a load balancer asks.
 *
 * Each check is asked once at a time and its answer is remembered for a moment, so that probes load nothing; an answer
 * comes within a bound, also where what is asked hangs. Clients learn which check it was, the log learns the cause.
 */
import { z } from 'zod'
import type { Events } from '../events.ts'

/** What must hold, by the word that an answer has for it. */
export interface Checked {
  database(): Promise<unknown>
  storage(): Promise<unknown>
  keys(): Promise<unknown>
  /** Rejects when less is free than must remain. */
  space(): Promise<unknown>
}

type Name = keyof Checked
const NAMES: readonly Name[] = ['database', 'storage', 'keys', 'space']

/** What keeps it from its work; docs/operating.md explains each. */
export const REASONS = ['starting', 'draining', 'database', 'storage', 'keys', 'space'] as const
export type Reason = (typeof REASONS)[number]

export const readinessAnswer = z
  .object({
    status: z.enum(['ok', 'unavailable']),
    reasons: z.array(z.enum(REASONS)).describe('Empty when it is ready.'),
    checks: z.object({
      accepting: z.boolean().describe('False while it starts or is being replaced.'),
      database: z.boolean(),
      storage: z.boolean(),
      keys: z.boolean(),
      space: z.boolean(),
    }),
  })
  .meta({ id: 'Readiness' })

export type Readiness = z.infer<typeof readinessAnswer>

const ANSWER_WITHIN_MS = 2_000
const REMEMBERED_MS = 1_000

const GOOD = undefined
type Fault = Error | typeof GOOD

/** @returns asks `check` or remembers what it said; resolves within the bound */
function watched(check: () => Promise<unknown>): () => Promise<Fault> {
  let running: Promise<Fault> | undefined
  let last: { fault: Fault; atMs: number } | undefined

  async function ask(): Promise<Fault> {
    let fault: Fault
    try {
      await check()
    } catch (error) {
      fault = error instanceof Error ? error : new Error(String(error))
    }
    last = { fault, atMs: performance.now() }
    running = undefined
    return fault
  }

  return async () => {
    if (last !== undefined && performance.now() - last.atMs < REMEMBERED_MS) return last.fault
    // One that hangs is not asked again beside itself: it may hold a thread.
    running ??= ask()
    return within(running)
  }
}

function within(running: Promise<Fault>): Promise<Fault> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(new Error(`no answer within ${ANSWER_WITHIN_MS} ms`)), ANSWER_WITHIN_MS)
    void running.then((fault) => {
      clearTimeout(timer)
      resolve(fault)
    })
  })
}

/** @param isDraining true once a shutdown has begun */
export function createReadiness(
  checked: Checked,
  { isDraining, events }: { isDraining: () => boolean; events: Pick<Events, 'notReady' | 'readyAgain'> },
): () => Promise<Readiness> {
  const checks = NAMES.map((name) => watched(() => checked[name]()))
  let told = ''

  /** A line each time that it changes, and none while all has always been well. */
  function tell(faulty: readonly Name[], faults: readonly Fault[]) {
    const now = faulty.join()
    if (now === told) return
    told = now
    if (now === '') events.readyAgain({})
    else events.notReady({ reasons: faulty, err: faults.find((fault) => fault !== GOOD) })
  }

  return async () => {
    const faults = await Promise.all(checks.map((check) => check()))
    const faulty = NAMES.filter((_, i) => faults[i] !== GOOD)
    const accepting = !isDraining()
    if (accepting) tell(faulty, faults)
    const reasons: Reason[] = accepting ? faulty : ['draining', ...faulty]
    const isGood = (name: Name) => !faulty.includes(name)
    return {
      status: reasons.length === 0 ? 'ok' : 'unavailable',
      reasons,
      checks: {
        accepting,
        database: isGood('database'),
        storage: isGood('storage'),
        keys: isGood('keys'),
        space: isGood('space'),
      },
    }
  }
}
