/**
 * The staging on a disk: one file per upload in the uploads directory, and nothing beside it that says what it is of.
 *
 * Knows files; knows nothing of rows or of HTTP, and remembers no upload: its handles do.
 */
import path from 'node:path'
import { ServiceError } from '../../errors.ts'
import { isId } from '../../ids.ts'
import type { Room, Scratch } from '../bytes.ts'
import type { Staged, StagedEntry, Staging } from '../staging.ts'
import type { DiskLibrary } from './disk-library.ts'
import { DiskStaged, type Home } from './disk-staged.ts'
import { probeDirectory } from './durability.ts'
import { IdleFiles } from './growing-file.ts'
import { NamelessFile } from './nameless-file.ts'
import { roomIn } from './room.ts'
import { removeStaged, stagedEntries } from './staged-entries.ts'
import { Writers } from './writers.ts'

export class DiskStaging implements Staging {
  readonly segmented = false
  readonly #home: Home

  /**
   * @param directory has to be there
   * @param library where `moveTo` moves to
   */
  constructor({ directory, library }: { directory: string; library: Pick<DiskLibrary, 'put'> }) {
    this.#home = { directory, library, writers: new Writers(), idle: new IdleFiles() }
  }

  of(id: string): Staged {
    if (!isId(id)) throw new ServiceError('upload_not_found', 'There is no such upload.')
    return new DiskStaged(this.#home, id, this.#home.directory + path.sep + id)
  }

  entries(): AsyncIterable<StagedEntry> {
    return stagedEntries(this.#home.directory)
  }

  remove(name: string): Promise<void> {
    return removeStaged(this.#home.directory, name)
  }

  scratch(name: string): Promise<Scratch> {
    return NamelessFile.open(this.#home.directory, name)
  }

  room(): Promise<Room> {
    return roomIn(this.#home.directory)
  }

  probe(): Promise<void> {
    return probeDirectory(this.#home.directory)
  }

  stop(): void {
    this.#home.writers.stop()
  }
}
