/**
 * Real file systems for a test: mounted where that is permitted, and gone with the test.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterwards } from './service.ts'

function run(command: string, ...words: string[]): void {
  const { status, stderr, error } = spawnSync(command, words, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${words.join(' ')}: ${error?.message ?? stderr}`)
}

/** False where nothing may be mounted; under CI that is an error, since a skip would hide what is not tested. */
export function mayMount(): boolean {
  const dir = mkdtempSync(path.join(tmpdir(), 'mount-'))
  try {
    mkdirSync(dir, { recursive: true })
    run('mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', dir)
    run('umount', dir)
    return true
  } catch (error) {
    if (process.env.CI === 'true') throw error
    return false
  } finally {
    rmSync(dir, { recursive: true })
  }
}

/** Mounts a tmpfs of so many bytes on the directory, which is made. */
export async function mountTmpfs(dir: string, bytes: number): Promise<void> {
  await mkdir(dir, { recursive: true })
  run('mount', '-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', dir)
  afterwards(async () => {
    run('umount', '--lazy', dir)
    await rm(dir, { recursive: true, force: true })
  })
}

export const resizeTmpfs = (dir: string, bytes: number): void => run('mount', '-o', `remount,size=${bytes}`, dir)

/** Makes a mounted directory refuse writes, or take them again. */
export const setReadOnly = (dir: string, readOnly: boolean): void =>
  run('mount', '-o', readOnly ? 'remount,ro' : 'remount,rw', dir)
