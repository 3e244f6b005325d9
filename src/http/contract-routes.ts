/**
 * `/openapi.json`, the contract, and `/docs`, a page that shows it.
 *
 * The document is made when it is first asked for: few processes ever are. The page is Swagger UI under a policy that lets
 * nothing run or load but its own files; they come from the package, or stand beside the bundle.
 */
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Request, Router, static as staticFiles } from 'express'
import { notFound } from './problem.ts'
import { takesNoQuery } from './request.ts'

/** The page puts a player beside a recording that it was given: it plays with a link. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "media-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

const PAGE = [
  '<!doctype html>',
  '<html lang="en">',
  '<head>',
  '<meta charset="utf-8">',
  '<meta name="viewport" content="width=device-width, initial-scale=1">',
  '<title>Call recordings: the contract</title>',
  '<link rel="icon" href="data:,">',
  '<link rel="stylesheet" href="docs/swagger-ui.css">',
  '</head>',
  '<body>',
  '<div id="contract"></div>',
  '<script src="docs/swagger-ui-bundle.js"></script>',
  '<script src="docs/open.js"></script>',
  '</body>',
  '</html>',
  '',
].join('\n')

/** In a file of its own, since the policy lets no script run that stands in the page. */
const OPEN = `SwaggerUIBundle({ url: 'openapi.json', dom_id: '#contract', deepLinking: true, validatorUrl: null })\n`

const FILES = ['swagger-ui-bundle.js', 'swagger-ui.css']

/** Asked for again at each use, and sent only where it is another one. */
const REVALIDATED = 'no-cache'

/** Where Swagger UI's files are: beside the bundle (rolldown.config.ts), else in the package. */
const filesFolder = () =>
  import.meta.url.endsWith('.ts')
    ? path.dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))
    : fileURLToPath(new URL('./', import.meta.url))

const etagOf = (text: string) => `"${createHash('sha256').update(text).digest('base64url')}"`

interface Contract {
  text: string
  etag: string
}

async function makeContract(publicUrl: URL | undefined): Promise<Contract> {
  const { openApiDocument } = await import('./openapi.ts')
  const text = JSON.stringify(openApiDocument(publicUrl))
  return { text, etag: etagOf(text) }
}

export function contractRoutes({ publicUrl }: { publicUrl?: URL | undefined }): Router {
  const router = Router()
  let contract: Promise<Contract> | undefined

  router.get('/openapi.json', takesNoQuery, async (_req, res) => {
    contract ??= makeContract(publicUrl).catch((error) => {
      // It is tried again when it is next asked for.
      contract = undefined
      throw error
    })
    const { text, etag } = await contract
    res.set({ ETag: etag, 'Cache-Control': REVALIDATED }).type('json').send(text)
  })

  router.get('/docs', takesNoQuery, (req, res) => {
    // What the page loads is named as from there.
    if (req.path.endsWith('/')) return res.redirect(308, '../docs')
    res.set({
      'Content-Security-Policy': CONTENT_SECURITY_POLICY,
      'Cache-Control': REVALIDATED,
      'Referrer-Policy': 'no-referrer',
    })
    return res.type('html').send(PAGE)
  })

  // By size and date: a package's files all have one date.
  const files = staticFiles(filesFolder(), { index: false, redirect: false, lastModified: false, cacheControl: false })
  router.get<{ file: string }>('/docs/:file', takesNoQuery, (req, res, next) => {
    const { file } = req.params
    res.set('Cache-Control', REVALIDATED)
    if (file === 'open.js') return res.set('ETag', etagOf(OPEN)).type('js').send(OPEN)
    if (!FILES.includes(file)) return notFound(req as Request, res, next)
    req.url = `/${file}`
    return files(req as Request, res, next)
  })

  return router
}
