/** Every ending signal, and every way of being started, with requests of every kind in flight. */
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import BetterSqlite3 from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { ENDING } from '../../src/process/signals.ts'
import { expectOrderlyEnd } from '../support/in-flight.ts'
import { legacyClient } from '../support/legacy.ts'
import { startProcess } from '../support/process.ts'
import { record } from '../support/recordings.ts'
import { jsonOf } from '../support/service.ts'
import { mayUnshare, startBy, WAYS, type Way } from '../support/starts.ts'
import { tusClient } from '../support/tus.ts'

const ways = (Object.keys(WAYS) as Way[]).filter((way) => mayUnshare || way !== 'process 1 of a container')

describe('with bodies of every kind in flight, and a listener', () => {
  test.for([
    ...ways.filter((way) => way !== 'the command').map((way) => [way, 'SIGTERM'] as const),
    ...ENDING.filter((signal) => signal !== 'SIGTERM').map((signal) => ['the command', signal] as const),
  ])('%s ends in order by %s', async ([way, signal]) => {
    await expectOrderlyEnd(await startBy(way, 'file'), signal)
  })
})

describe('with a finalize and two deletions waiting for the database, a HEAD and a list just come', () => {
  test.for(ENDING)('%s ends in order, and what was answered is so', async (signal) => {
    const server = await startProcess()
    const legacy = legacyClient(server)
    const tus = tusClient(server.tokens.telecaller)
    const lead = await server.lead()
    const id = await legacy.begin(lead)
    await legacy.append(lead, id, 0, Buffer.from('whole'))
    const recording = new URL((await record(server, 'to go')).url).pathname
    const other = await server.lead()
    const upload = await tus.begin(other, 10)
    const finalize = () => legacy.finalize(lead, id, 1)
    const deletion = () => server.api('DELETE', recording)
    const termination = () => tus.terminate(upload)
    const statusOf = (request: Promise<Response>) => request.then(({ status }) => status).catch(() => 'cut')

    const db = new BetterSqlite3(path.join(server.dir, 'recordings.db'))
    db.exec('BEGIN IMMEDIATE')
    const writing = [finalize(), deletion(), termination()].map(statusOf)
    await sleep(300) // they wait for the database
    process.kill(server.pid, 'SIGSTOP')
    const reading = [tus.head(`${lead.uploads}/${id}`), server.api('GET', other.recordings)].map(statusOf)
    await sleep(50) // they wait in the sockets
    const ended = server.kill(signal)
    process.kill(server.pid, 'SIGCONT')
    await server.line(({ msg }) => msg === 'stopping')
    db.exec('ROLLBACK')
    db.close()
    const [finalized, deleted, terminated] = await Promise.all(writing)
    for (const status of await Promise.all(reading)) expect([200, 503, 'cut']).toContain(status)
    expect([200, 503]).toContain(finalized)
    expect([204, 503]).toContain(deleted)
    expect([204, 503]).toContain(terminated)
    expect(await ended).toEqual({ code: 0, signal: null })
    expect(server.lines.at(-1)).toMatchObject({ msg: 'stopped' })

    await server.restart()
    const listed = async () => (await jsonOf(await server.api('GET', lead.recordings))).recordings as unknown[]
    if (finalized === 200) expect(await listed()).toHaveLength(1)
    expect((await finalize()).status).toBe(200)
    expect(await listed()).toHaveLength(1)
    if (deleted !== 204) expect((await deletion()).status).toBe(204)
    expect((await server.api('GET', recording)).status).toBe(404)
    if (terminated !== 204) expect((await termination()).status).toBe(204)
    expect([404, 410]).toContain((await tus.head(upload)).status)
  })
})
