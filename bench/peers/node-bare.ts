/**
 * A bare Node server: takes the bytes, takes their SHA-256, and writes them into a file. Answers as much of tus as the
 * load asks for.
 */
import { createHash, randomUUID } from 'node:crypto'
import { closeSync, openSync, statSync, writev } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import path from 'node:path'
import { directory, listen } from './listen.ts'

const WRITE_BYTES = 1024 * 1024

function receive(req: IncomingMessage, res: ServerResponse, name: string, status: number): void {
  const hash = createHash('sha256')
  const fd = openSync(path.join(directory, name), 'w')
  let pieces: Buffer[] = []
  let gathered = 0
  let offset = 0
  const write = (then: () => void) => {
    const bytes = gathered
    writev(fd, pieces, offset, (error, count) => {
      if (error || count < bytes) throw error ?? new Error('a write was cut short')
      then()
    })
    pieces = []
    offset += bytes
    gathered = 0
  }
  req.on('data', (piece: Buffer) => {
    hash.update(piece)
    pieces.push(piece)
    gathered += piece.length
    if (gathered < WRITE_BYTES || req.complete) return
    req.pause()
    write(() => req.resume())
  })
  req.on('end', () => {
    const end = () => {
      closeSync(fd)
      res
        .writeHead(status, { Location: `/files/${name}`, 'Upload-Offset': offset, 'X-Digest': hash.digest('hex') })
        .end()
    }
    if (gathered > 0) write(end)
    else end()
  })
}

listen((req, res) => {
  const name = path.basename(req.url ?? '')
  if (req.method === 'HEAD') res.writeHead(200, { 'Upload-Offset': statSync(path.join(directory, name)).size }).end()
  else if (req.method === 'PATCH') receive(req, res, name, 204)
  else if (req.headers['content-length'] === '0') res.writeHead(201, { Location: `/files/${randomUUID()}` }).end()
  else receive(req, res, randomUUID(), 201)
})
