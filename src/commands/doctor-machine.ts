/** Of `doctor`: the Node that runs this, what the system lets a process have, and the port. */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { createServer } from 'node:net'
import path from 'node:path'
import type { Config } from '../config/config.ts'
import { isTaken, lockInstance } from '../db/instance-lock.ts'
import { whatToDo } from '../process/start-faults.ts'
import { advice, bad, type Finding, ok } from './finding.ts'
import { localAddress } from './local-address.ts'

/** Tested with it; 22.18 is the oldest that `bin/call-recordings.js` lets run. */
const TESTED_MAJOR = 24

export function node(): Finding {
  const says = `${process.version} at ${process.execPath}`
  const major = Number(process.versions.node.split('.')[0])
  if (major === TESTED_MAJOR) return ok('node', says)
  return advice(
    'node',
    says,
    `run it with Node ${TESTED_MAJOR}, which comes with the packages: npm start, npx call-recordings`,
  )
}

const FEW_FILES = 4_096

/** Each connection and each recording that is played is an open file. */
export async function files(): Promise<Finding[]> {
  const text = await readFile('/proc/self/limits', 'utf8').catch(() => '')
  const [, hard = ''] = /^Max open files\s+\S+\s+(\S+)/m.exec(text) ?? []
  if (hard === '') return []
  const says = `${hard} may be open at once`
  if (hard === 'unlimited' || Number(hard) >= FEW_FILES) return [ok('files', says)]
  return [advice('files', says, `raise it to ${FEW_FILES} or more: LimitNOFILE= of systemd, ulimit -n`)]
}

/** Listens for a moment. @returns what keeps it from that */
async function listening({ host, port }: Config): Promise<NodeJS.ErrnoException | undefined> {
  const server = createServer()
  try {
    server.listen({ host, port })
    await once(server, 'listening')
    return undefined
  } catch (error) {
    return error as NodeJS.ErrnoException
  } finally {
    server.close()
  }
}

/** Whether one of our servers answers there. */
async function isOurs(config: Config): Promise<boolean> {
  const url = new URL('livez', localAddress(config))
  try {
    const res = await fetch(url, { signal: AbortSignal.timeout(2_000), redirect: 'manual' })
    return res.status === 200 && res.headers.has('x-request-id') && (await res.text()) === '{"status":"ok"}'
  } catch {
    return false
  }
}

/** The process that listens on a port, as far as this user may see it. */
async function holderOf(port: number): Promise<string | undefined> {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  const tables = await Promise.all(['tcp', 'tcp6'].map((each) => readFile(`/proc/net/${each}`, 'utf8').catch(() => '')))
  const inodes = new Set(
    tables
      .join('\n')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter(([, local, , state]) => local?.endsWith(`:${hex}`) && state === '0A')
      .map((fields) => `socket:[${fields[9]}]`),
  )
  for (const pid of (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name))) {
    const fds = await readdir(`/proc/${pid}/fd`).catch(() => [])
    for (const fd of fds) {
      if (!inodes.has(await readlink(`/proc/${pid}/fd/${fd}`).catch(() => ''))) continue
      const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
      return `process ${pid} (${command.replaceAll('\0', ' ').trim().slice(0, 80)})`
    }
  }
  return undefined
}

/** Whether a server has this data directory for itself; one that holds the lock shows what it keeps there. */
async function isServed({ dataDir, postgres }: Config): Promise<boolean> {
  const lock = path.join(dataDir, 'server.lock')
  if (postgres || !existsSync(lock)) return false
  try {
    const release = await lockInstance(lock, 0)
    release()
    return false
  } catch (error) {
    return isTaken(error)
  }
}

export async function port(config: Config): Promise<Finding[]> {
  const at = `${config.host}:${config.port}`
  const served = await isServed(config)
  if (config.port === 0) return [ok('port', 'any that is free (PORT is 0)')]
  const fault = await listening(config)
  if (fault === undefined) {
    if (!served) return [ok('port', `${at} is free`)]
    return [
      advice(
        'port',
        `${at} is free, and a server runs on ${config.dataDir}`,
        "give this command the server's PORT and HOST",
      ),
    ]
  }
  if (fault.code === 'EADDRINUSE' && (await isOurs(config))) {
    const says = `${at} is a call-recordings server's`
    if (served || config.postgres) return [ok('port', `${says}, which runs`)]
    return [bad('port', `${says} on another data directory`, 'set PORT, or end that server')]
  }
  const holder = fault.code === 'EADDRINUSE' ? await holderOf(config.port) : undefined
  const told = whatToDo(fault, config) ?? `${at} can't be listened on (${fault.code}): set PORT and HOST`
  const [says = '', ...todo] = told.split(': ')
  return [bad('port', `${says}${holder ? `: ${holder}` : ''}`, todo.join(': '))]
}
