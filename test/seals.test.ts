/** A request that repeats another one waits for what ends that one: by its seal, and not by looking again and again. */
import { setImmediate as breathe } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import { newId } from '../src/ids.ts'
import { idempotencyOf } from '../src/uploads/idempotency.ts'
import { onceUnsealed, Seals } from '../src/uploads/seals.ts'
import { base64, legacyClient } from './support/legacy.ts'
import { jsonOf, startService, type TestLead } from './support/service.ts'
import { noise } from './support/tus.ts'

describe('a seal', () => {
  const sealed = () => {
    const seals = new Seals()
    const done = Promise.withResolvers<void>()
    const work = seals.hold('a', () => done.promise)
    return { seals, work, done }
  }

  test('refuses a second step at once with 409, and lets the next one in when it is given back', async () => {
    const { seals, work, done } = sealed()
    await expect(seals.hold('a', async () => {})).rejects.toMatchObject({ code: 'upload_closed', status: 409 })
    expect(await seals.hold('b', async () => 'other')).toBe('other')
    done.resolve()
    await work
    expect(await seals.hold('a', async () => 'next')).toBe('next')
  })

  test.for(['done', 'failed'])('wakes a repeat once, when its work is %s', async (end) => {
    const { seals, work, done } = sealed()
    let looks = 0
    const repeat = onceUnsealed(() => seals.hold('a', async () => ++looks))
    await breathe()
    expect(looks).toBe(0)
    if (end === 'done') done.resolve()
    else done.reject(new Error('the disk fails'))
    await work.catch(() => {})
    expect(await repeat).toBe(1)
    expect(looks).toBe(1)
  })

  test('is waited for again where another step was faster', async () => {
    const { seals, done } = sealed()
    const second = Promise.withResolvers<void>()
    const faster = onceUnsealed(() => seals.hold('a', () => second.promise))
    const repeat = onceUnsealed(() => seals.hold('a', async () => 'third'))
    done.resolve()
    await breathe()
    second.resolve()
    await faster
    expect(await repeat).toBe('third')
  })

  test('keeps a repeat waiting for so long and no longer, and not one whose client has gone', async () => {
    const timeout = new AbortController()
    const spy = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(timeout.signal)
    try {
      const { seals, work, done } = sealed()
      const late = onceUnsealed(() => seals.hold('a', async () => {}))
      expect(spy).toHaveBeenCalledWith(5_000)
      timeout.abort()
      await expect(late).rejects.toMatchObject({ code: 'upload_locked', status: 423, headers: { 'Retry-After': '1' } })
      spy.mockReturnValue(new AbortController().signal)
      const gone = new AbortController()
      const left = onceUnsealed(() => seals.hold('a', async () => {}), gone.signal)
      gone.abort()
      await expect(left).rejects.toMatchObject({ code: 'upload_locked' })
      done.resolve()
      await work
    } finally {
      spy.mockRestore()
    }
  })

  test('is no reason to wait for what fails otherwise', async () => {
    const fault = new Error('its own')
    await expect(onceUnsealed(() => Promise.reject(fault))).rejects.toBe(fault)
  })
})

describe('a creation that is repeated under its key while the sweep ends the first', async () => {
  const harness = await startService()
  const { telecaller } = harness.tokens
  const legacy = legacyClient(harness)
  const bytes = noise(500)
  const caller = { id: 'telecaller-a', role: 'telecaller' } as const

  /** Ends the upload as the sweep does, and stands still just before the table says so until the repeat has come. */
  async function besideItsEnd<T>(id: string, repeat: () => Promise<T>): Promise<T> {
    const { db, ingest } = harness.service
    const { write } = db
    const { begin } = ingest
    const [ending, begun, goOn] = [1, 2, 3].map(() => Promise.withResolvers<void>())
    db.write = async (...statements) => {
      db.write = write
      ending?.resolve()
      await goOn?.promise
      return write(...statements)
    }
    ingest.begin = (intent) => {
      begun?.resolve()
      return begin(intent)
    }
    try {
      const ended = ingest.abandon(id)
      await ending?.promise
      const answer = repeat()
      await begun?.promise
      // A request that waits for nothing would be answered by now.
      const livez = fetch(`${harness.url}/livez`)
      expect(await Promise.race([answer.then(() => 'answered'), livez.then(() => 'waits')])).toBe('waits')
      goOn?.resolve()
      await ended
      return await answer
    } finally {
      ingest.begin = begin
    }
  }

  const simple = (lead: TestLead, key: string) => {
    const form = new FormData()
    form.append('call_log_id', lead.callLogId)
    form.append('file', new Blob([new Uint8Array(bytes)]), 'call.wav')
    const headers = { authorization: `Bearer ${telecaller}`, 'idempotency-key': key }
    return fetch(lead.recordings, { method: 'POST', headers, body: form })
  }

  test('over tus begins anew: 201 with another address', async () => {
    const lead = await harness.lead()
    const create = () =>
      fetch(lead.uploads, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${telecaller}`,
          'tus-resumable': '1.0.0',
          'upload-length': '500',
          'upload-metadata': `filename ${base64('call.wav')},call_log_id ${base64(lead.callLogId)}`,
          'idempotency-key': '"tus"',
        },
      })
    const first = (await create()).headers.get('location') as string
    const repeated = await besideItsEnd(first.split('/').pop() as string, create)
    expect(repeated.status).toBe(201)
    expect(repeated.headers.get('location')).toMatch(/\/uploads\/[\w-]+$/)
    expect(repeated.headers.get('location')).not.toBe(first)
  })

  test('in chunks begins anew: 201 with another upload', async () => {
    const lead = await harness.lead()
    const init = () =>
      harness.api('POST', lead.recordings, {
        body: { action: 'init', filename: 'call.wav', call_log_id: lead.callLogId },
        headers: { 'idempotency-key': '"legacy"' },
      })
    const { upload_id } = await jsonOf(await init())
    const repeated = await besideItsEnd(upload_id as string, init)
    const { upload_id: second } = await jsonOf(repeated)
    expect(repeated.status).toBe(201)
    expect(second).not.toBe(upload_id)
    expect((await legacy.append(lead, second as string, 0, bytes)).status).toBe(202)
  })

  test.for(['half', 'whole'])('as a form becomes the recording, also where the first was %s', async (how) => {
    const lead = await harness.lead()
    const { ingest } = harness.service
    const { Readable } = await import('node:stream')
    const key = `"form-${how}"`
    const idempotency = idempotencyOf(key, ['simple', 'call.wav'])
    const filename = 'call.wav'
    const intent = { door: 'simple', caller, leadId: lead.leadId, filename, length: null, idempotency } as const
    const { id } = await ingest.begin({ id: newId(), ...intent })
    await harness.service.ownership.hold(id, new AbortController().signal, async () => {
      await ingest.append(id, Readable.from([Buffer.from(bytes)], { objectMode: false }), { allOrNothing: true })
      if (how === 'whole') await ingest.seal(id, { length: bytes.length, callLogId: lead.callLogId })
    })
    const repeated = await besideItsEnd(id, () => simple(lead, key))
    expect(repeated.status).toBe(200)
    const { recordings } = await jsonOf(await harness.api('GET', lead.recordings))
    expect(recordings).toHaveLength(1)
  })
})
