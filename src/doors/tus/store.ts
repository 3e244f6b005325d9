/**
 * The data store that @tus/server is given: the library's own file store, with rows and bytes left to the core.
 *
 * Of @tus/file-store run its constructor and its list of extensions: no sidecar file is written, and no file is asked
 * for its length. Uploads begin and go on by the door's own steps, which the library is not handed.
 */
import { FileStore } from '@tus/file-store'
import { Upload } from '@tus/server'
import type { Ingest } from '../../uploads/ingest.ts'

type Core = Pick<Ingest, 'view' | 'terminate'>

export class TusStore extends FileStore {
  readonly #core: Core

  /** @param directory made by the library's constructor where it is missing, and left alone by what runs of it */
  constructor(core: Core, directory: string, extensions: string[]) {
    super({ directory })
    this.#core = core
    this.extensions = extensions
  }

  /** What a client may see; a file that is longer holds bytes that were never acknowledged. */
  override async getUpload(id: string): Promise<Upload> {
    const { offset, length } = await this.#core.view(id)
    // Its metadata and its age are answered by the door.
    return new Upload({ id, offset, ...(length !== null && { size: length }) })
  }

  override remove(id: string): Promise<void> {
    return this.#core.terminate(id)
  }
}
