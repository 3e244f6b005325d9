/** Files by Express's own `sendFile`. */
import express from 'express'
import { directory, listen } from './listen.ts'

const app = express()
app.get('/:name', (req, res) => {
  res.sendFile(req.params.name as string, { root: directory })
})

listen(app)
