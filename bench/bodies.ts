/**
 * What is sent: recordings that are audio to whoever looks, and noise to whoever would compress them.
 */
import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'

export const KIB = 1024
export const MIB = 1024 * KIB

/** A call of that many bytes: 8 kHz, 16 bit, one channel. */
export function wav(bytes: number): Buffer {
  const file = randomBytes(bytes)
  file.write('RIFF', 0, 'latin1')
  file.writeUInt32LE(bytes - 8, 4)
  file.write('WAVEfmt ', 8, 'latin1')
  file.writeUInt32LE(16, 16)
  file.writeUInt16LE(1, 20)
  file.writeUInt16LE(1, 22)
  file.writeUInt32LE(8_000, 24)
  file.writeUInt32LE(16_000, 28)
  file.writeUInt16LE(2, 32)
  file.writeUInt16LE(16, 34)
  file.write('data', 36, 'latin1')
  file.writeUInt32LE(bytes - 44, 40)
  return file
}

/** @throws unless the file is `body`, `times` times over */
export async function assertHolds(file: string, body: Buffer, times: number): Promise<void> {
  let position = 0
  for await (const piece of createReadStream(file, { highWaterMark: MIB })) {
    const bytes = piece as Buffer
    for (let done = 0; done < bytes.length; ) {
      const from = position % body.length
      const length = Math.min(bytes.length - done, body.length - from)
      if (bytes.compare(body, from, from + length, done, done + length) !== 0) {
        throw new Error(`${file} differs from what was sent, at byte ${position} or soon after`)
      }
      done += length
      position += length
    }
  }
  if (position !== body.length * times) throw new Error(`${file} has ${position} bytes of ${body.length * times}`)
}
