/**
 * The HTTP server around the app: its limits in time, and how it ends.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { createApp, readinessOf } from './app.ts'
import { shuttingDown } from './errors.ts'
import type { Events } from './events.ts'
import { Admission } from './http/admission.ts'
import { boundConnections } from './http/connections.ts'
import { continueBeforeSuccess } from './http/early-answers.ts'
import { takeTarget } from './http/host.ts'
import { type Listening, listen } from './http/listen.ts'
import { problemOf } from './http/problem.ts'
import type { Readiness } from './http/readiness.ts'
import { joinTinyPieces } from './http/tiny-pieces.ts'
import { type Exchange, exchangeOf, inTurn } from './http/turns.ts'
import { maskTokens } from './log.ts'
import type { Service } from './service.ts'

export interface RunningServer {
  readonly server: Server
  /** Without a slash at its end. */
  readonly url: string
  /** For how long no request has been there; 0 while one is. */
  quietForMs(): number
  /**
   * Ends what is under way and stops listening.
   *
   * Until the last request has ended the server goes on answering, so that a load balancer sees `/readyz` at 503. A body
   * that still comes is not waited for: the doors answer it with 503 by themselves, and for the rest it is done here.
   *
   * @param withinMs after that what still runs is cut off
   * @returns how many requests were cut off
   */
  close(withinMs?: number): Promise<number>
}

/** A request is given this long to answer by itself once no more of its body is wanted. */
const ANSWER_WITHIN_MS = 500
/** What was answered is given this long to be read. */
const READ_WITHIN_MS = 1_000
const LOOK_EVERY_MS = 20

/**
 * A connection on which nothing has moved for the idle timeout. A body may come as slowly as it likes, but not be silent;
 * an answer may be taken as slowly, but not be left lying.
 */
function endSilent(socket: Socket, events: Events): void {
  const exchange = exchangeOf(socket)
  if (!exchange) return void socket.destroy()
  const { req, res } = exchange
  const { method } = req
  const url = maskTokens(req.url ?? '')
  if (!req.complete && req.readableLength > 0) {
    // What it has sent is not read yet, as while a disk stands still: that is our silence, and it is asked again.
    socket.setTimeout(socket.timeout ?? 0)
  } else if (!req.complete) {
    events.connectionSilent({ method, url })
    req.destroy()
  } else if (res.writableEnded || socket.writableLength > 0) {
    events.answerNotTaken({ method, url })
    socket.destroy()
  }
  // Else the answer takes a while: that is our silence.
}

/** Metrics and, where it is asked for, the server of their own; no code of theirs is loaded where they are off. */
async function measure(service: Service, readiness: () => Promise<Readiness>) {
  const { metrics: setting, host } = service.config
  if (!setting) return undefined
  const { metricsOf } = await import('./metrics/kept-until-asked.ts')
  const metrics = metricsOf(service, readiness)
  const listener =
    setting.at === 'port'
      ? await (await import('./metrics/listener.ts')).listenForMetrics(metrics, { host, port: setting.port })
      : undefined
  return {
    metrics,
    close() {
      metrics.close()
      listener?.close()
      listener?.closeAllConnections()
    },
  }
}

/**
 * Puts the service behind a server that listens already, or else on the configured host and port.
 *
 * @throws EADDRINUSE and its kin
 */
export async function startServer(service: Service, listening?: Listening): Promise<RunningServer> {
  const { uploads, trustProxy } = service.config
  const { server, doorkeeper } = listening ?? (await listen(service.config))
  server.timeout = uploads.idleTimeoutMs
  server.on('timeout', (socket: Socket) => endSilent(socket, service.events))
  // Behind a proxy all come from one address, and the proxy bounds them.
  if (trustProxy === false) boundConnections(server)
  const readiness = readinessOf(service)
  const measured = await measure(service, readiness)
  const app = createApp(service, readiness, measured?.metrics)
  const active = new Set<Exchange>()
  const admission = new Admission()
  server.on('connection', () => admission.connected())
  let closing = false
  let endedAtMs = performance.now()

  const take = inTurn((exchange: Exchange) => {
    const { req, res } = exchange
    active.add(exchange)
    res.once('close', () => {
      active.delete(exchange)
      endedAtMs = performance.now()
    })
    if (closing) res.setHeader('Connection', 'close')
    takeTarget(req)
    admission.admit(req.method, () => {
      if (!res.destroyed) app(req, res)
    })
  })
  const onRequest = (req: IncomingMessage, res: ServerResponse) => {
    joinTinyPieces(req)
    take(req, res)
  }
  doorkeeper.handOver(onRequest)
  // The routes say when they want the body; until then a client that asks first has sent none of it.
  server.on('checkContinue', (req, res) => {
    continueBeforeSuccess(req, res)
    onRequest(req, res)
  })
  const { address, port: bound, family } = server.address() as AddressInfo

  const bodiesThatCome = () => [...active].filter(({ req }) => !req.complete)

  async function until(done: () => boolean, deadlineMs: number): Promise<boolean> {
    while (!done()) {
      if (performance.now() >= deadlineMs) return false
      await sleep(LOOK_EVERY_MS)
    }
    return true
  }

  async function endBodies(deadlineMs: number): Promise<void> {
    const within = (ms: number) => Math.min(deadlineMs, performance.now() + ms)
    await until(() => bodiesThatCome().every(({ res }) => res.headersSent), within(ANSWER_WITHIN_MS))
    for (const { req, res } of bodiesThatCome()) {
      if (res.headersSent) continue
      const told = shuttingDown()
      const { headers, text } = problemOf(told, req)
      const { locals } = res as ServerResponse & { locals?: { error?: unknown } }
      if (locals) locals.error = told
      res.writeHead(told.status, headers).end(text)
    }
    await until(() => bodiesThatCome().length === 0, within(READ_WITHIN_MS))
    for (const { req } of bodiesThatCome()) req.socket.destroySoon()
  }

  async function close(withinMs: number = 0): Promise<number> {
    const deadlineMs = performance.now() + withinMs
    closing = true
    for (const { res } of active) if (!res.headersSent) res.setHeader('Connection', 'close')
    // What has reached the socket by now is a request too: a connection closed over it would be reset.
    await sleep(LOOK_EVERY_MS)
    await endBodies(deadlineMs)
    await until(() => active.size === 0, deadlineMs)
    const cutOff = active.size
    const closed = new Promise<void>((resolve, reject) => {
      server.close((error) => (error ? reject(error) : resolve()))
    })
    server.closeAllConnections()
    await closed
    measured?.close()
    return cutOff
  }

  return {
    server,
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${bound}`,
    quietForMs: () => (active.size > 0 ? 0 : performance.now() - endedAtMs),
    close,
  }
}

/**
 * Ends server and service in order, within the configured grace: nothing new, what comes in is stored as far as it came,
 * what is whole is finished, the write-ahead log is emptied.
 *
 * Safe to be cut short by the process' end at any point: nothing acknowledged depends on it.
 */
export async function shutDown(service: Service, running: RunningServer): Promise<void> {
  const { log, config } = service
  service.ingest.drain()
  // The last part of the grace is for the finishing and the database.
  const cutOff = await running.close(config.shutdownGraceMs * 0.7)
  if (cutOff > 0) log.warn({ requests: cutOff }, 'requests were cut off at the end of the grace')
  await service.close()
}
