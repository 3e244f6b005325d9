/** A multipart file to disk, by busboy in Express. */
import { randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import busboy from 'busboy'
import express from 'express'
import { directory, listen } from './listen.ts'

const app = express()
app.post('/recordings', (req, res, next) => {
  const form = busboy({ headers: req.headers, limits: { files: 1 } })
  const filename = randomUUID()
  const writing: Promise<void>[] = []
  form.on('file', (_name, file) => {
    writing.push(pipeline(file, createWriteStream(path.join(directory, filename))))
  })
  form.on('close', () => {
    Promise.all(writing).then(() => res.status(201).json({ filename }), next)
  })
  form.on('error', next)
  req.pipe(form)
})

listen(app)
