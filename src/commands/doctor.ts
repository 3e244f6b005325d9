/**
 * `call-recordings doctor`: looks at all that a server needs of its machine and its neighbours, a line each, with what to do.
 *
 * Works beside a running server and before the first start. Changes nothing, and makes nothing.
 */
import type { Config } from '../config/config.ts'
import { judgeSettings } from '../settings-judged.ts'
import { places, space } from './doctor-disk.ts'
import { files, node, port } from './doctor-machine.ts'
import { clock, database, keys, store } from './doctor-neighbours.ts'
import { nginx } from './doctor-nginx.ts'
import { bad, type Finding, ok } from './finding.ts'
import type { Output } from './output.ts'

/** In the order in which one thing rests on another. */
const CHECKS: readonly ((config: Config) => Promise<Finding[]>)[] = [
  files,
  places,
  space,
  keys,
  database,
  store,
  clock,
  port,
  nginx,
]

async function* found(): AsyncGenerator<Finding> {
  yield node()
  const { config, faults } = await judgeSettings({ make: false })
  for (const fault of faults) yield bad('settings', fault, 'set it right; `config check` shows all of them')
  if (!config) return yield bad('the rest', 'was not looked at', 'set the settings right first')
  if (faults.length === 0) yield ok('settings', 'are without a fault')
  for (const check of CHECKS) yield* await check(config)
}

const MARKS = { ok: 'ok', advice: 'advice', bad: 'BAD' } as const

/** @returns the exit code: 1 when something is bad */
export async function doctor(output: Output): Promise<number> {
  const counts = { ok: 0, advice: 0, bad: 0 }
  for await (const finding of found()) {
    const { about, state, says, todo } = finding
    counts[state] += 1
    output.tell(
      { type: state, about, says, todo },
      `${MARKS[state].padEnd(6)}  ${about.padEnd(11)}  ${says}${todo === undefined ? '' : `: ${todo}`}`,
    )
  }
  const { bad: wrong, advice } = counts
  output.sum({ checks: counts }, wrong + advice === 0 ? 'all is well' : `${wrong} bad, ${advice} to be thought about`)
  return wrong === 0 ? 0 : 1
}
