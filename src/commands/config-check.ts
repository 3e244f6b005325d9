/**
 * `call-recordings config check`: every setting with the value in effect and where that comes from, and all that is wrong, as a
 * start would tell it. Makes nothing, and shows no secret.
 */
import { ConfigError } from '../config/config.ts'
import { settingsInEffect } from '../config/in-effect.ts'
import { judgeSettings } from '../settings-judged.ts'
import type { Output } from './output.ts'

const SOURCES = { environment: 'set', default: 'default', follows: 'follows', none: '' } as const

/** @returns the exit code @throws ConfigError with all faults */
export async function checkConfig(output: Output): Promise<number> {
  const { config, faults } = await judgeSettings({ make: false })
  const settings = settingsInEffect(config)
  const width = Math.max(...settings.map(({ name }) => name.length))
  for (const { name, value, source } of settings) {
    const isWrong = faults.some((fault) => fault.startsWith(`${name} `) || fault.startsWith(`${name}:`))
    output.tell(
      { type: 'setting', name, value: value ?? null, source, wrong: isWrong },
      `${name.padEnd(width)}  ${(isWrong ? 'WRONG' : SOURCES[source]).padEnd(7)}  ${value ?? '-'}`.trimEnd(),
    )
  }
  output.sum({ faults })
  if (faults.length > 0) throw new ConfigError(faults)
  output.sum({ production: config?.production }, 'the settings are without a fault')
  return 0
}
