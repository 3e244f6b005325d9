/** A file looked into here and there, opened when it is first asked for. */
import { open } from 'node:fs/promises'
import type { BytesReader } from '../bytes.ts'

/** @param head how the file begins, where memory has it */
export function fileReader(file: string, head?: Buffer): BytesReader {
  let opened: ReturnType<typeof open> | undefined
  return {
    async read(position, length) {
      if (head && position + length <= head.length) return head.subarray(position, position + length)
      opened ??= open(file, 'r')
      const buffer = Buffer.allocUnsafe(length)
      const { bytesRead } = await (await opened).read(buffer, 0, length, position)
      return buffer.subarray(0, bytesRead)
    },
    file: async () => file,
    async close() {
      await (await opened?.catch(() => undefined))?.close()
    },
  }
}
