/** Memory of buffers that came off a socket, freed at once. */

/** Smaller buffers are views of a pool that others use too. */
const OWN_MEMORY_BYTES = 16 * 1024

/**
 * Frees a written buffer's memory now. Left to the collector, the 64 KiB buffers of a socket make V8 mark the whole heap
 * every few megabytes received.
 */
export function giveBack(buffer: Buffer): void {
  const memory = buffer.buffer as ArrayBuffer
  if (buffer.length >= OWN_MEMORY_BYTES && memory.byteLength === buffer.length) memory.transfer(0)
}
