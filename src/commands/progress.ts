/** The bar of a long command in a terminal; nothing where the output goes elsewhere. */

const WIDTH = 30
const EVERY_MS = 100

export interface Progress {
  /** More of it is done. */
  advance(bytes: number): void
  /** Wipes the bar; what follows is written on a clean line. */
  done(): void
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** 1536 → `1.5 KiB` */
export function inUnits(bytes: number): string {
  const step = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), UNITS.length - 1)
  return `${(bytes / 1024 ** step).toFixed(step === 0 ? 0 : 1)} ${UNITS[step]}`
}

/** @param totalBytes what will be done in all, as far as is known at the beginning */
export function createProgress(label: string, totalBytes: number, stream: NodeJS.WriteStream): Progress {
  if (!stream.isTTY) return { advance() {}, done() {} }
  const startedAtMs = performance.now()
  let doneBytes = 0
  let drawnAtMs = Number.NEGATIVE_INFINITY
  return {
    advance(bytes) {
      doneBytes += bytes
      const now = performance.now()
      if (now - drawnAtMs < EVERY_MS) return
      drawnAtMs = now
      const share = totalBytes === 0 ? 1 : Math.min(doneBytes / totalBytes, 1)
      const filled = Math.round(share * WIDTH)
      const bar = '█'.repeat(filled) + '░'.repeat(WIDTH - filled)
      const perSecond = doneBytes / Math.max((now - startedAtMs) / 1000, 0.001)
      const amounts = `${inUnits(doneBytes)} of ${inUnits(totalBytes)}, ${inUnits(perSecond)}/s`
      stream.write(`\r\x1b[K${label} ${bar} ${Math.floor(share * 100)} %  ${amounts}`)
    },
    done() {
      stream.write('\r\x1b[K')
    },
  }
}
