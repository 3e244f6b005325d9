/** @tus/server with its file store on node:http, as their documentation shows it. */
import { FileStore } from '@tus/file-store'
import { Server } from '@tus/server'
import { directory, listen } from './listen.ts'

const tus = new Server({ path: '/files', datastore: new FileStore({ directory }), relativeLocation: true })

listen((req, res) => {
  void tus.handle(req, res)
})
