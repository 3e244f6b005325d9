/**
 * What lies in the recordings directory: a folder for each lead, with its recordings; and beside them what the library
 * makes for itself, under names that no key begins with.
 *
 * Recordings in quarantine lie in a folder for each day, under the names that they had.
 */
import { rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { isId } from '../../ids.ts'
import type { Entry } from '../entry.ts'
import { makeDirectory } from './directories.ts'
import { PROBE, syncDirectory } from './durability.ts'
import { bytesIn, entriesIn } from './look.ts'

/** Files on their way in from another file system. */
export const INCOMING = '.incoming'
const QUARANTINE = '.quarantine'

const DAY_MS = 86_400_000
const DAY = /^\d{4}-\d{2}-\d{2}$/

const isProbe = (name: string) => name.startsWith(PROBE)
const isOfLibrary = (name: string) => name === INCOMING || name === QUARANTINE || isProbe(name)
const isDay = (name: string) => DAY.test(name) && !Number.isNaN(Date.parse(name))

/** A folder that is no lead's, or that may not be read, is one entry. */
export async function* libraryEntries(directory: string): AsyncGenerator<Entry> {
  for await (const { isFolder, ...entry } of entriesIn(directory, (name) => !isOfLibrary(name))) {
    if (!isFolder || !isId(entry.name) || !(yield* entriesOfLead(directory, entry.name))) yield entry
  }
}

/** @returns whether its folder could be read */
async function* entriesOfLead(directory: string, lead: string): AsyncGenerator<Entry, boolean> {
  try {
    yield* inside(directory, lead)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error
    return false
  }
}

async function* inside(directory: string, folder: string): AsyncGenerator<Entry> {
  for await (const { name, bytes, changedAtMs } of entriesIn(path.join(directory, folder))) {
    yield { name: `${folder}/${name}`, bytes, changedAtMs }
  }
}

export async function* leftoversIn(directory: string): AsyncGenerator<Entry> {
  yield* inside(directory, INCOMING)
  for await (const { name, bytes, changedAtMs } of entriesIn(directory, isProbe)) yield { name, bytes, changedAtMs }
}

/** @returns where the file lies from now on, relative to the directory as its key was before */
export async function setAside(directory: string, key: string, nowMs: number): Promise<string> {
  const to = path.join(QUARANTINE, new Date(nowMs).toISOString().slice(0, 10), key)
  const [source, target] = [path.join(directory, key), path.join(directory, to)]
  await makeDirectory(path.dirname(target))
  await rename(source, target)
  for (const file of [target, source]) await syncDirectory(path.dirname(file))
  return to
}

export async function* daysSetAside(directory: string): AsyncGenerator<Entry> {
  const quarantine = path.join(directory, QUARANTINE)
  for await (const { name } of entriesIn(quarantine, isDay)) {
    const bytes = await bytesIn(path.join(quarantine, name))
    yield { name: `${QUARANTINE}/${name}`, bytes, changedAtMs: Date.parse(name) + DAY_MS }
  }
}

/** Whether it is the name of a leftover, or of a day of the quarantine. */
function isDiscarded(name: string): boolean {
  const [folder = '', inside, ...more] = name.split('/')
  if (more.length > 0) return false
  if (inside === undefined) return isProbe(folder)
  return folder === INCOMING ? !['', '.', '..'].includes(inside) : folder === QUARANTINE && isDay(inside)
}

/** @throws for any other name */
export async function discardIn(directory: string, name: string): Promise<void> {
  if (!isDiscarded(name)) throw new Error(`${JSON.stringify(name)} is not the library's to discard`)
  await rm(path.join(directory, name), { recursive: true, force: true })
}
