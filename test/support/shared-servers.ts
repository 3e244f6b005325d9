/** What test files of one run share: started when the first of them asks, ended with the run. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestProject } from 'vitest/node'
import { launchSwift } from './swift.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** Asked, it answers with the endpoint of a server that runs. */
    swiftStarter: string
  }
}

export async function setup({ provide }: TestProject): Promise<() => Promise<void>> {
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
