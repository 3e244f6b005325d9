import { describe, expect, test } from 'vitest'
import { expectOrderlyEnd } from './support/in-flight.ts'
import { mayUnshare, startBy, WAYS, type Way } from './support/starts.ts'

const ways = (Object.keys(WAYS) as Way[]).filter((way) => mayUnshare || way !== 'process 1 of a container')

const running = await startBy('the command', 'file')

test('SIGTERM with a request of every kind in flight: each is answered, listeners hear the end, and the log says so', async () => {
  await expectOrderlyEnd(await startBy('the command', 'pipe'), 'SIGTERM')
})

describe('a signal', () => {
  test.for([
    ['the command', 'SIGINT', 'file'],
    ['the command', 'SIGHUP', 'pipe'],
    ['the command', 'SIGQUIT', 'file'],
    ['the command', 'SIGPWR', 'pipe'],
    ['the command', 'SIGXCPU', 'file'],
    ['process 1 of a container', 'SIGINT', 'file'],
    ['process 1 of a container', 'SIGHUP', 'pipe'],
    ['npm start', 'SIGINT', 'file'],
    // npm hands on no others: it ends, and its server with it.
    ['npm start', 'SIGHUP', 'file'],
    ['npm start', 'SIGKILL', 'file'],
  ] as const)('to %s: %s ends the server, and the last line of its log, a %s, says so', async ([way, signal, to]) => {
    if (!ways.includes(way)) return
    const server = await startBy(way, to)
    server.signal(signal)
    await server.gone()
    const log = await server.log()
    expect(log.map(({ msg }) => msg)).toEqual(['listening', 'stopping', 'stopped'])
  })

  test('that means nothing here is a line in the log, and opens no debugger', async () => {
    const server = running
    for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGVTALRM', 'SIGIO', 'SIGSTKFLT'] as const) {
      server.signal(signal)
      await expect.poll(async () => (await server.log()).at(-1)).toMatchObject({ signal, level: 'warn' })
    }
    expect((await fetch(`${server.url}/livez`)).status).toBe(200)
    expect(await server.text()).not.toContain('Debugger')
  })

  test('of a terminal, which npm hands on once more, is one stop and no second signal', async () => {
    const server = await startBy('npm start', 'file')
    server.signalAll('SIGINT')
    await server.gone()
    expect((await server.log()).map(({ msg }) => msg)).toEqual(['listening', 'stopping', 'stopped'])
  })

  test.for(ways.filter((way) => way !== 'npm start'))(
    'before the server listens ends it, with a line, started by %s',
    async (way) => {
      const { dir } = running
      // Its lock is waited for, five seconds.
      const early = await startBy(way, 'file', { env: { RECORDINGS_DATA_DIR: dir }, isEarly: true })
      early.signal('SIGTERM')
      expect((await early.exited).code).toBe(0)
      expect((await early.log()).map(({ msg }) => msg)).toEqual(['stopping', 'stopped before it listened'])
    },
  )
})
