/**
 * What a bench asks of whoever is measured.
 */
import { readdirSync, unlinkSync } from 'node:fs'
import path from 'node:path'
import type { Pace } from './connection.ts'
import type { Operation } from './load.ts'
import type { Running } from './processes.ts'

/** What a server is started for. */
export interface Site {
  /** Its own, empty. */
  dir: string
  /** The recording that is played lies in `mediaDir` by this name. */
  mediaDir: string
  mediaName: string
  media: Buffer
}

/** What can be asked for; what a server has no word for is missing. */
export interface Abilities {
  /** A recording by two requests, the second of which brings `times` times the body. */
  inTwo?(body: Buffer, options?: { times?: number; pace?: Pace }): Operation
  inOne?(body: Buffer): Operation
  form?(body: Buffer): Operation
  chunks?(body: Buffer): Operation
  ranges?(): Promise<Operation>
  whole?(): Promise<Operation>
}

export interface Started {
  readonly running: Running
  readonly can: Abilities
  /** Removes what has been uploaded. */
  sweep(): void
}

export interface Contestant {
  readonly name: string
  /** Why it can't be measured here. */
  missing?(): string | undefined
  start(site: Site): Promise<Started>
}

/** Files go, folders stay: servers remember theirs. */
export function removeFiles(directory: string): void {
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) unlinkSync(path.join(entry.parentPath, entry.name))
  }
}
