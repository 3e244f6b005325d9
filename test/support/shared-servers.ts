/** What test files of one run share. Servers: started when the first of them asks, ended with the run. Compiled code: kept for the next run. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { TestProject } from 'vitest/node'
import { launchSwift } from './swift.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** Asked, it answers with the endpoint of a server that runs. */
    swiftStarter: string
  }
}

// Without it a start of a process is half compiling. Each process of a test file has it, and what it starts.
const COMPILED = fileURLToPath(new URL('../../node_modules/.cache/compiled', import.meta.url))

export async function setup({ provide }: TestProject): Promise<() => Promise<void>> {
  process.env.NODE_COMPILE_CACHE ??= COMPILED
  let swift: ReturnType<typeof launchSwift> | undefined
  const starter = createServer((_, res) => {
    swift ??= launchSwift()
    swift.then(
      ({ endpoint }) => res.end(endpoint),
      (error) => res.writeHead(500).end(String(error)),
    )
  })
  starter.listen(0, '127.0.0.1')
  await once(starter, 'listening')
  provide('swiftStarter', `http://127.0.0.1:${(starter.address() as AddressInfo).port}`)
  return async () => {
    starter.closeAllConnections()
    starter.close()
    await swift?.then(
      ({ stop }) => stop(),
      () => {},
    )
  }
}
