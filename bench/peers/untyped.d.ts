/** As much of these packages' interfaces as the peers use. */
declare module 'busboy' {
  import type { IncomingHttpHeaders } from 'node:http'
  import type { Readable, Writable } from 'node:stream'

  interface Form extends Writable {
    on(event: 'file', listener: (name: string, file: Readable) => void): this
    on(event: 'close', listener: () => void): this
    on(event: 'error', listener: (error: Error) => void): this
  }
  export default function busboy(options: { headers: IncomingHttpHeaders; limits: { files: number } }): Form
}

declare module 'multer' {
  import type { RequestHandler } from 'express'

  export default function multer(options: { dest: string }): { single(field: string): RequestHandler }
}
