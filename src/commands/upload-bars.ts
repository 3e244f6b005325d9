/** Bars of several uploads at once, in a terminal; nothing where the output goes elsewhere. */
import path from 'node:path'
import { MultiBar, type SingleBar } from 'cli-progress'
import { onOneLine } from './on-one-line.ts'
import { inUnits } from './progress.ts'

export interface UploadBar {
  at(bytes: number): void
  done(): void
}

export interface UploadBars {
  /** @param size of it, in bytes */
  begin(file: string, size: number): UploadBar
  /** A line above them; false where there are none, and it is to be said otherwise. */
  say(text: string): boolean
  stop(): void
}

const WIDTH = 24
const NONE: UploadBars = { begin: () => ({ at() {}, done() {} }), say: () => false, stop() {} }

const shortened = (file: string) => {
  const name = onOneLine(path.basename(file))
  return (name.length > WIDTH ? `…${name.slice(1 - WIDTH)}` : name).padEnd(WIDTH)
}

export function uploadBars(stream: NodeJS.WriteStream): UploadBars {
  if (!stream.isTTY) return NONE
  const format = '{name} {bar} {percentage} %  {amount}'
  const bars = new MultiBar({ stream, format, barsize: 24, clearOnComplete: true, hideCursor: true, fps: 8 })
  // The terminal has its cursor again, also after Ctrl-C.
  process.once('exit', () => bars.stop())
  return {
    begin(file, size) {
      const amount = (bytes: number) => `${inUnits(bytes)} of ${inUnits(size)}`
      const bar: SingleBar = bars.create(size, 0, { name: shortened(file), amount: amount(0) })
      return {
        at: (bytes) => bar.update(bytes, { amount: amount(bytes) }),
        done: () => void bars.remove(bar),
      }
    },
    say(text) {
      if (!process.stdout.isTTY) return false
      bars.log(`${text}\n`)
      return true
    },
    stop: () => bars.stop(),
  }
}
