/** A multipart file to disk, by multer. */
import express from 'express'
import multer from 'multer'
import { directory, listen } from './listen.ts'

const app = express()
app.post('/recordings', multer({ dest: directory }).single('file'), (req, res) => {
  const { file } = req as unknown as { file: { filename: string } }
  res.status(201).json({ filename: file.filename })
})

listen(app)
