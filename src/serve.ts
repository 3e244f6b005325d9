/**
 * The server's life: environment → settings → service → listen; a signal → drain → close.
 */

import { systemClock } from './clock.ts'
import { type Config, ConfigError } from './config/config.ts'
import { type Listening, listen } from './http/listen.ts'
import { flushLog, type Log, openLog } from './log.ts'
import { firstSteps } from './process/first-steps.ts'
import { giveBackAtRest } from './process/memory.ts'
import { ENDING, type Signals, whenParentEnds } from './process/signals.ts'
import { whatToDo } from './process/start-faults.ts'
import { type RunningServer, shutDown, startServer } from './server.ts'
import { createService, LOCK_WAIT_MS, type Service } from './service.ts'
import { judgeSettings } from './settings-judged.ts'

interface Up {
  service: Service
  running: RunningServer
}

/** A terminal's Ctrl-C goes to npm and to us, and npm hands it on: the same signal again, at once. */
const HANDED_ON_WITHIN_MS = 1_000

/** Runs the server until a signal ends it; resolves when it listens. */
export async function serve(signals: Signals, { withParent }: { withParent: boolean }): Promise<void> {
  const config = await settings()
  const log = await openLog(config)
  const life = createLife(config, log)
  let stoppedBy: NodeJS.Signals | undefined
  let stoppedAtMs = 0

  signals.handle((signal) => {
    if (!ENDING.some((ending) => ending === signal)) {
      log.warn({ signal }, 'this signal means nothing here; the service goes on')
      return
    }
    const isHandedOn = withParent && signal === stoppedBy && performance.now() - stoppedAtMs < HANDED_ON_WITHIN_MS
    if (isHandedOn) return
    if (stoppedBy === undefined) stoppedAtMs = performance.now()
    stoppedBy ??= signal
    life.end({ signal })
  })
  if (withParent) whenParentEnds(() => life.end({ reason: 'the process that started it has ended' }))

  try {
    let listening: Listening | undefined
    const service = await createService(config, systemClock, log, LOCK_WAIT_MS, async () => {
      listening = await listen(config)
    })
    const running = await startServer(service, listening)
    service.sweep.start()
    giveBackAtRest(running.quietForMs)
    life.begin({ service, running })
    log.info({ url: running.url }, 'listening')
    // Beside the log, whose lines are for programs where no terminal takes them.
    if (!config.production && process.stderr.isTTY) process.stderr.write(firstSteps(running.url, config))
  } catch (error) {
    if (error instanceof ConfigError) throw error
    const sentence = whatToDo(error, config)
    if (sentence === undefined) log.fatal({ err: error }, 'the service could not start')
    else log.fatal({ code: (error as NodeJS.ErrnoException).code }, `the service could not start: ${sentence}`)
    await life.exit(1)
  }
}

/** @throws ConfigError with all that is wrong with the settings and what they name */
async function settings(): Promise<Config> {
  const { config, faults } = await judgeSettings({ make: true })
  if (config && faults.length === 0) return config
  throw new ConfigError(faults)
}

function createLife(config: Config, log: Log) {
  let up: Up | undefined
  let isEnding = false

  const exit = async (code: number) => {
    await flushLog(log)
    process.exit(code)
  }

  async function stop(): Promise<void> {
    if (!up) {
      log.info('stopped before it listened')
      return exit(0)
    }
    setTimeout(() => {
      log.warn('the grace is over before all was finished; the next start goes on')
      void exit(0)
    }, config.shutdownGraceMs)
    try {
      await shutDown(up.service, up.running)
      log.info('stopped')
    } catch (error) {
      log.error({ err: error }, 'stopped with a fault; the next start goes on')
    }
    await exit(0)
  }

  return {
    exit,
    begin(what: Up) {
      up = what
    },
    /** Asked for a second time, it ends the process at once. */
    end(why: { signal: NodeJS.Signals } | { reason: string }) {
      if (isEnding) {
        log.warn(why, 'ended at once, asked a second time; the next start goes on')
        void exit(1)
        return
      }
      isEnding = true
      log.info(why, 'stopping')
      void stop()
    },
  }
}
