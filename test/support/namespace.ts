/** A network of its own for a process, on a cable that can be pulled. */
import { spawnSync } from 'node:child_process'
import { afterwards } from './service.ts'

const ip = (...words: string[]) => spawnSync('ip', words, { encoding: 'utf8' })

export interface Namespace {
  /** Starts a command in it. */
  readonly wrapper: readonly string[]
  /** This machine as seen from it. */
  readonly host: string
  cut(): void
  heal(): void
}

/** Undefined where it can't be made: it takes root and the Debian package `iproute2`. Gone after the test. */
export function ownNetwork(): Namespace | undefined {
  const name = `cr-${process.pid}`
  const cable = `cr${process.pid}`
  if (ip('netns', 'add', name).status !== 0) return undefined
  afterwards(async () => {
    ip('link', 'del', cable)
    ip('netns', 'del', name)
  })
  const host = '10.213.87.1'
  const steps = [
    ['link', 'add', cable, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name],
    ['addr', 'add', `${host}/30`, 'dev', cable],
    ['link', 'set', cable, 'up'],
    ['-n', name, 'addr', 'add', '10.213.87.2/30', 'dev', 'eth0'],
    ['-n', name, 'link', 'set', 'eth0', 'up'],
    ['-n', name, 'link', 'set', 'lo', 'up'],
  ]
  if (steps.some((words) => ip(...words).status !== 0)) return undefined
  return {
    wrapper: ['ip', 'netns', 'exec', name],
    host,
    cut: () => void ip('-n', name, 'link', 'set', 'eth0', 'down'),
    heal: () => void ip('-n', name, 'link', 'set', 'eth0', 'up'),
  }
}
