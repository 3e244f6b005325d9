/**
 * Of `doctor`: whether nginx can read the recordings that it is told to send (`RECORDINGS_ACCEL_REDIRECT`).
 *
 * By its configuration in /etc/nginx and the modes of the directories; access control lists are not looked at.
 */
import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Config } from '../config/config.ts'
import { advice, bad, type Finding, ok } from './finding.ts'

const textOf = (file: string) => readFile(file, 'utf8').catch(() => '')

async function filesIn(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch(() => [])
  return names.map((name) => path.join(directory, name))
}

/** All of its configuration, but for what lies in unusual places. */
async function configuration(folder: string): Promise<string> {
  const included = await Promise.all(['sites-enabled', 'conf.d'].map((name) => filesIn(path.join(folder, name))))
  const texts = await Promise.all([path.join(folder, 'nginx.conf'), ...included.flat()].map(textOf))
  return texts.join('\n').replace(/^\s*#.*$/gm, '')
}

interface User {
  name: string
  uid: number
  gids: readonly number[]
}

async function userNamed(name: string): Promise<User | undefined> {
  const fields = (text: string) => text.split('\n').map((line) => line.split(':'))
  const account = fields(await textOf('/etc/passwd')).find(([each]) => each === name)
  if (!account) return undefined
  const groups = fields(await textOf('/etc/group')).filter(([, , , members = '']) => members.split(',').includes(name))
  return { name, uid: Number(account[2]), gids: [Number(account[3]), ...groups.map(([, , gid]) => Number(gid))] }
}

/** Whether the bits of a file let a user do something: 4 reads, 1 goes through. */
async function may({ uid, gids }: User, file: string, bit: 4 | 1): Promise<boolean> {
  if (uid === 0) return true
  const { mode, uid: owner, gid } = await stat(file)
  const shift = uid === owner ? 6 : gids.includes(gid) ? 3 : 0
  return ((mode >> shift) & bit) === bit
}

/** The first directory on the way to another that the user can't pass; undefined where all are open. */
async function closedOn(user: User, directory: string): Promise<string | undefined> {
  const parts = directory.split(path.sep).filter((part) => part !== '')
  const all = parts.map((_, i) => `/${parts.slice(0, i + 1).join('/')}`)
  for (const each of all) {
    const passes = await may(user, each, 1).catch(() => undefined)
    // What is not there yet is made with 0700 by the service.
    if (passes !== true) return passes === undefined && process.getuid?.() === user.uid ? undefined : each
  }
  return undefined
}

/** @param folder of its configuration */
export async function nginx({ playback, recordingsDir }: Config, folder: string = '/etc/nginx'): Promise<Finding[]> {
  const prefix = playback.accelRedirect
  if (prefix === undefined) return []
  const text = await configuration(folder)
  if (text.trim() === '') {
    const todo = `see that nginx' user can read ${recordingsDir}, or leave RECORDINGS_ACCEL_REDIRECT out`
    return [advice('nginx', `its configuration is not in ${folder}`, todo)]
  }
  const findings: Finding[] = []
  // The setting has no other character that means something here.
  const location = prefix.replaceAll('.', '\\.')
  const [, alias] =
    new RegExp(`location\\s+(?:\\^~\\s+)?${location}\\s*\\{[^}]*?\\balias\\s+([^;\\s]+)`).exec(text) ?? []
  if (alias === undefined) {
    findings.push(
      bad(
        'nginx',
        `has no location ${prefix} with an alias`,
        'take deploy/nginx.conf, or set RECORDINGS_ACCEL_REDIRECT to its location',
      ),
    )
  } else if (path.resolve(alias) !== recordingsDir) {
    findings.push(
      bad(
        'nginx',
        `its location ${prefix} is ${alias}, and recordings lie in ${recordingsDir}`,
        `set alias ${recordingsDir}/;`,
      ),
    )
  }
  const [, name = 'nobody'] = /^\s*user\s+([^;\s]+)/m.exec(text) ?? []
  const user = await userNamed(name)
  const closed = user && (await closedOn(user, recordingsDir))
  if (closed !== undefined) {
    const todo = `run nginx' workers as the service's user (user …; in ${folder}/nginx.conf); until then the service sends the bytes itself`
    findings.push(bad('nginx', `its user ${name} can't pass ${closed}`, todo))
  } else if (findings.length === 0) findings.push(ok('nginx', `its user ${name} can read ${recordingsDir}`))
  return findings
}
