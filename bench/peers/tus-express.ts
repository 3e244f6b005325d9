/** @tus/server with its file store in Express, as their documentation shows it. */
import { FileStore } from '@tus/file-store'
import { Server } from '@tus/server'
import express from 'express'
import { directory, listen } from './listen.ts'

const tus = new Server({ path: '/files', datastore: new FileStore({ directory }), relativeLocation: true })
const app = express()
app.all('/files{/*rest}', (req, res) => {
  void tus.handle(req, res)
})

listen(app)
