/**
 * The data store that @tus/server is given: the library's own file store, with rows and bytes left to the core.
 *
 * Of @tus/file-store run its constructor and its list of extensions: no sidecar file is written, and no file is asked
 * for its length. Rows are made by the door before the library creates; bytes come by `append`.
 */
import type { Readable } from 'node:stream'
import { FileStore } from '@tus/file-store'
import { Upload } from '@tus/server'
import type { Ingest } from '../../uploads/ingest.ts'

type Core = Pick<Ingest, 'append' | 'declareLength' | 'view' | 'terminate'>

export class TusStore extends FileStore {
  readonly #core: Core

  /** @param directory made by the library's constructor where it is missing, and left alone by what runs of it */
  constructor(core: Core, directory: string, extensions: string[]) {
    super({ directory })
    this.#core = core
    this.extensions = extensions
  }

  /** The upload has begun already; its file comes with its first byte. */
  override async create(upload: Upload): Promise<Upload> {
    return upload
  }

  /** What a client may see; a file that is longer holds bytes that were never acknowledged. */
  override async getUpload(id: string): Promise<Upload> {
    const { offset, length } = await this.#core.view(id)
    // Its metadata and its age are answered by the door.
    return new Upload({ id, offset, ...(length !== null && { size: length }) })
  }

  override declareUploadLength(id: string, length: number): Promise<void> {
    return this.#core.declareLength(id, length)
  }

  /** The engine appends with more to say; what the library might write by itself goes the same way. */
  override async write(source: Readable, id: string): Promise<number> {
    return (await this.#core.append(id, source)).offset
  }

  override remove(id: string): Promise<void> {
    return this.#core.terminate(id)
  }
}
