/** A log whose lines can be read, and awaited. */
import { readConfig } from '../../src/config/config.ts'
import { createLog } from '../../src/log.ts'

export function readableLog(level = 'info') {
  const lines: Record<string, unknown>[] = []
  let wake = () => {}
  const log = createLog(readConfig({ LOG_LEVEL: level }), {
    write(line: string) {
      lines.push(JSON.parse(line))
      wake()
    },
  })
  const line = async (): Promise<Record<string, unknown>> => {
    for (;;) {
      const next = lines.shift()
      if (next) return next
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  return { log, lines, line }
}
