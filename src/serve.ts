/**
 * The server's life: environment → settings → service → listen; a signal → drain → close.
 */

import { systemClock } from './clock.ts'
import { ConfigError, readConfig } from './config/config.ts'
import { createLog, flushLog } from './log.ts'
import { giveBackAtRest } from './memory.ts'
import { shutDown, startServer } from './server.ts'
import { createService } from './service.ts'

/** Runs the server until a signal ends it; resolves when it listens. */
export async function serve(): Promise<void> {
  const config = (() => {
    try {
      return readConfig()
    } catch (error) {
      process.stderr.write(`${(error as Error).message}\n`)
      process.exit(1)
    }
  })()
  const log = createLog(config)
  try {
    const service = await createService(config, systemClock, log)
    const running = await startServer(service)
    service.sweep.start()
    giveBackAtRest(running.quietForMs)
    const exit = async (code: number) => {
      await flushLog(log)
      process.exit(code)
    }
    let stopping = false
    const stop = async (signal: NodeJS.Signals) => {
      if (stopping) return exit(1)
      stopping = true
      log.info({ signal }, 'stopping')
      setTimeout(() => {
        log.warn('the grace is over before all was finished; the next start goes on')
        void exit(0)
      }, config.shutdownGraceMs)
      try {
        await shutDown(service, running)
        log.info('stopped')
      } catch (error) {
        log.error({ err: error }, 'stopped with a fault; the next start goes on')
      }
      await exit(0)
    }
    process.on('SIGTERM', stop)
    process.on('SIGINT', stop)
    log.info({ url: running.url }, 'listening')
  } catch (error) {
    if (error instanceof ConfigError) process.stderr.write(`${error.message}\n`)
    else log.fatal({ err: error }, 'the service could not start')
    process.exitCode = 1
  }
}
