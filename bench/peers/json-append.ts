/** Base64 chunks in JSON, appended to a file: the way that most would write it. */
import { appendFile } from 'node:fs/promises'
import path from 'node:path'
import express from 'express'
import { directory, listen } from './listen.ts'

const app = express()
app.post('/recordings/:id/chunks', express.json({ limit: '4mb' }), async (req, res) => {
  await appendFile(path.join(directory, req.params.id as string), Buffer.from(req.body.chunk, 'base64'))
  res.status(204).end()
})

listen(app)
