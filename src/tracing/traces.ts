/**
 * Traces (OpenTelemetry, posted by OTLP over HTTP), where an address for them is configured: a span for each request, and
 * below it those of what took its time. Loaded only then; without it no line of this runs, and nothing asks whether it does.
 *
 * What takes time is watched from outside: its methods are wrapped on the very objects that are at work. Spans are named by
 * what they are, never by whom they are about.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { ConfigError } from '../config/config.ts'
import { ServiceError } from '../errors.ts'
import { METHODS } from '../http/methods.ts'
import { routeName } from '../http/route-names.ts'
import { type Log, maskTokens } from '../log.ts'

/** As `peerDependencies` in package.json has them. */
export const PACKAGES: Readonly<Record<string, string>> = {
  '@opentelemetry/api': '1.10.0',
  '@opentelemetry/context-async-hooks': '3.1.0',
  '@opentelemetry/exporter-trace-otlp-http': '0.301.0',
  '@opentelemetry/resources': '3.1.0',
  '@opentelemetry/sdk-trace': '3.1.0',
}

export interface Traces {
  /** Express middleware, behind the one that gives requests their ids. */
  request(req: IncomingMessage, res: ServerResponse, next: () => void): void
  /** Each call of these methods during a request is a span from now on. */
  watch<T extends object>(name: string, what: T, methods: readonly (keyof T & string)[]): void
  /** Posts what is left, if that can be done in time. */
  close(): Promise<void>
}

/** What is left at the end is posted in this time, or not at all. */
const POSTED_WITHIN_MS = 2_000

/** @throws ConfigError when the packages are not installed, with the command that installs them */
async function packages() {
  try {
    const [api, hooks, otlp, resources, sdk] = await Promise.all([
      import('@opentelemetry/api'),
      import('@opentelemetry/context-async-hooks'),
      import('@opentelemetry/exporter-trace-otlp-http'),
      import('@opentelemetry/resources'),
      import('@opentelemetry/sdk-trace'),
    ])
    return { api, hooks, otlp, resources, sdk }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    const wanted = Object.entries(PACKAGES).map(([name, version]) => `${name}@${version}`)
    throw new ConfigError([
      'OTEL_EXPORTER_OTLP_ENDPOINT is given: expected the packages that traces are made with, which are not installed: ' +
        `npm install --no-save ${wanted.join(' ')}`,
    ])
  }
}

/** @param log is told when spans could not be posted */
export async function openTraces({ serviceName }: { serviceName: string }, log: Log): Promise<Traces> {
  const { api, hooks, otlp, resources, sdk } = await packages()
  const { context, trace, ROOT_CONTEXT, SpanKind, SpanStatusCode } = api
  const say = (message: string) =>
    log.warn({ event: 'tracesNotSent', reason: maskTokens(message).slice(0, 300) }, 'traces could not be posted')
  const silent = () => {}
  api.diag.setLogger(
    { error: say, warn: say, info: silent, debug: silent, verbose: silent },
    { logLevel: api.DiagLogLevel.ERROR, suppressOverrideMessage: true },
  )
  context.setGlobalContextManager(new hooks.AsyncLocalStorageContextManager().enable())
  const provider = new sdk.TracerProvider({
    resource: resources.resourceFromAttributes({ 'service.name': serviceName }),
    // The exporter reads the rest of OTEL_EXPORTER_OTLP_… by itself, headers with secrets among it.
    spanProcessors: [new sdk.BatchSpanProcessor({ exporter: new otlp.OTLPTraceExporter() })],
  })
  const tracer = provider.getTracer('call-recordings')

  type Span = ReturnType<typeof tracer.startSpan>
  const failed = (span: Span, error: unknown) => {
    span.setStatus({ code: SpanStatusCode.ERROR })
    span.setAttribute('error.type', codeOf(error))
    span.end()
  }

  /** What happens outside requests, such as the sweep, is nobody's trace. */
  function timed<R>(name: string, work: () => R): R {
    if (trace.getActiveSpan() === undefined) return work()
    const span = tracer.startSpan(name)
    return context.with(trace.setSpan(context.active(), span), () => {
      try {
        const result = work()
        if (!(result instanceof Promise)) {
          span.end()
          return result
        }
        result.then(
          () => span.end(),
          (error) => failed(span, error),
        )
        return result
      } catch (error) {
        failed(span, error)
        throw error
      }
    })
  }

  return {
    request(req, res, next) {
      const url = req.url ?? ''
      const route = routeName(url)
      if (PROBES.has(route)) return next()
      const parent = parentOf(req.headers.traceparent)
      const method = METHODS.has(req.method ?? '') ? req.method : 'HTTP'
      const from = parent ? trace.setSpanContext(ROOT_CONTEXT, { ...parent, isRemote: true }) : ROOT_CONTEXT
      const { locals } = res as ServerResponse & { locals?: Locals }
      const attributes = {
        'http.request.method': method,
        'http.route': route,
        // The address itself holds ids; the log has them, by the id of the request.
        'url.path': route,
        'request.id': locals?.requestId,
      }
      const span = tracer.startSpan(`${method} ${route}`, { kind: SpanKind.SERVER, attributes }, from)
      if (locals) locals.traceId = span.spanContext().traceId
      res.once('close', () => {
        const code = codeOf(locals?.error)
        if (res.headersSent) span.setAttribute('http.response.status_code', res.statusCode)
        if (locals?.error !== undefined) span.setAttribute('error.type', code)
        if (res.statusCode >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
        span.end()
      })
      context.with(trace.setSpan(ROOT_CONTEXT, span), next)
    },

    watch(name, what, methods) {
      for (const key of methods) {
        const method = what[key] as (...args: unknown[]) => unknown
        const value = (...args: unknown[]) => timed(`${name} ${key}`, () => method.apply(what, args))
        Object.defineProperty(what, key, { value, configurable: true, writable: true })
      }
    },

    async close() {
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, POSTED_WITHIN_MS)
      })
      await Promise.race([provider.shutdown().catch((error) => say(String(error))), late])
      clearTimeout(timer)
    },
  }
}

/** What the request's log line and its span know of each other. */
interface Locals {
  requestId?: string
  traceId?: string
  error?: unknown
}

const PROBES = new Set(['/livez', '/readyz', '/metrics'])

const TRACEPARENT = /^[\da-f]{2}-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-([\da-f]{2})(?:-|$)/

/** The span that the request is part of (W3C Trace Context §3.2). */
function parentOf(header: string | string[] | undefined) {
  const [, traceId, spanId, flags = '0'] = (typeof header === 'string' && TRACEPARENT.exec(header)) || []
  if (traceId === undefined || spanId === undefined || header?.slice(0, 2) === 'ff') return undefined
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1 }
}

/** A code of ours or of the system; never a message, which may name what it is about. */
const codeOf = (error: unknown): string => {
  if (error instanceof ServiceError) return error.code
  const code = (error as NodeJS.ErrnoException | undefined)?.code
  return typeof code === 'string' ? code : error instanceof Error ? error.name : 'error'
}
