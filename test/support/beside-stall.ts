/** A file that keeps a parser of media busy is taken in: nobody else waits for it, and its upload is answered. */
import { expect } from 'vitest'
import { LIMIT_MS } from './costly.ts'
import { type DOORS, sendThrough } from './doors.ts'
import { type ProcessOptions, watchLivez } from './process.ts'
import { jsonOf } from './service.ts'
import { STALLS, type Stall } from './stalls.ts'
import { MAX_WAIT_MS, type MeasuredProcess, startMeasured } from './stretches.ts'

export const DEADLINE_MS = 1_000
/** For all that is not inspection, beside whatever else the machine does. */
export const SLACK_MS = 4_000
const isRoot = process.getuid?.() === 0
/** Waiting for a processor that others have is not what is measured: where they may, server and watcher go first. */
export const wrapper = isRoot ? ['nice', '-n', '-15'] : []

export const startBesideStalls = (env: ProcessOptions['env'] = {}): Promise<MeasuredProcess> =>
  startMeasured({ env, wrapper })

export const stallNamed = (name: string) => STALLS.find((each) => each.name === name) as Stall

/** While `work` is done, `/livez` is answered each time, and no turn of the loop keeps it waiting. @param how `turnsOnce` where the work is done with then */
export async function expectLivezAnswers(
  server: MeasuredProcess,
  work: () => Promise<unknown>,
  how: 'turns' | 'turnsOnce' = 'turns',
): Promise<void> {
  const { ranMs, waitedMs } = await server[how](async () => {
    const stop = await watchLivez(server.url, wrapper)
    await work()
    const livezMs = await stop()
    expect(livezMs.length).toBeGreaterThan(0)
    expect(Math.max(...livezMs)).toBeLessThan(Number.POSITIVE_INFINITY)
  })
  expect(ranMs).toBeLessThan(LIMIT_MS)
  expect(waitedMs).toBeLessThan(MAX_WAIT_MS)
}

/** It is taken in through a door, and told as what it is. */
export async function expectTakenIn(server: MeasuredProcess, door: (typeof DOORS)[number], stall: Stall) {
  const { filename, contentType, bytes } = stall
  const body = bytes()
  await expectLivezAnswers(server, async () => {
    const lead = await server.lead()
    const startedAtMs = performance.now()
    const { status, recordingId } = await sendThrough(door, server, lead, body, filename)
    expect(performance.now() - startedAtMs).toBeLessThan(DEADLINE_MS + SLACK_MS)
    expect(status).toBeLessThan(300)
    const told = await jsonOf(await server.api('GET', `/api/leads/${lead.leadId}/recordings/${recordingId}/details`))
    expect(told).toMatchObject({ content_type: contentType, size: body.length })
  })
}
