import { playbackCases } from './support/playback-cases.ts'
import { startService } from './support/service.ts'

playbackCases(async () => {
  const service = await startService()
  return { service, origin: service.url }
}, false)
