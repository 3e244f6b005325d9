/** `plays_in_browsers` of a recording, beside a real browser; and what a browser records, sent as it comes. */
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hasChromium, servePage, startChromium } from '../support/chromium.ts'
import { encodeAll, hasFfmpeg, MADE } from '../support/ffmpeg.ts'
import { AUDIO, fixtureBytes, VIDEO } from '../support/fixtures.ts'
import { id3, ODD, zeros } from '../support/media-files.ts'
import { record } from '../support/recordings.ts'
import { jsonOf, startService } from '../support/service.ts'

if (!hasChromium && process.env.CI) test('Chromium is there (apt-get install chromium)', () => expect.unreachable())
if (!hasFfmpeg && process.env.CI) test('ffmpeg is there (apt-get install ffmpeg)', () => expect.unreachable())

const PAGE = `<!doctype html><title>CRM</title><script>
/** Does an <audio> element play it to its end? */
function plays(url) {
  const audio = document.createElement('audio')
  return new Promise((resolve) => {
    audio.onerror = () => resolve(false)
    audio.onended = () => resolve(true)
    audio.onplaying = () => { audio.onplaying = null; if (audio.duration > 1) audio.currentTime = audio.duration - 0.3 }
    audio.src = url
    audio.play().catch(() => {})
  })
}
/** What MediaRecorder makes of a tone, in Base64, and how long its own decoder finds that to be. */
async function recorded(mimeType, ms, timeslice, pauseMs = 0) {
  const context = new AudioContext()
  const tone = new OscillatorNode(context, { frequency: 440 })
  const out = context.createMediaStreamDestination()
  tone.connect(out)
  tone.start()
  const recorder = new MediaRecorder(out.stream, { mimeType })
  const parts = []
  recorder.ondataavailable = (event) => parts.push(event.data)
  const stopped = new Promise((resolve) => { recorder.onstop = resolve })
  const wait = (time) => new Promise((resolve) => setTimeout(resolve, time))
  const begun = new Promise((resolve) => { recorder.onstart = resolve })
  recorder.start(timeslice)
  await begun
  await wait(ms)
  if (pauseMs) { recorder.pause(); await wait(pauseMs); recorder.resume(); await wait(ms) }
  recorder.stop()
  await stopped
  await context.close()
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer())
  const copy = new AudioContext()
  const { duration } = await copy.decodeAudioData(bytes.slice().buffer)
  await copy.close()
  return { base64: bytes.toBase64(), heardSeconds: duration }
}
</script>`

describe.skipIf(!hasChromium)('in Chromium (skipped without the package chromium)', async () => {
  const service = await startService()
  let browser: Browser
  let page: Page
  let crm: Awaited<ReturnType<typeof servePage>>
  let made: ReadonlyMap<string, Buffer>

  beforeAll(async () => {
    made = hasFfmpeg ? await encodeAll(0.9) : new Map()
    ;[browser, crm] = await Promise.all([startChromium(), servePage(PAGE)])
    page = await browser.newPage()
    await page.goto(crm.origin)
  })
  afterAll(async () => {
    crm?.stop()
    await browser?.close()
  })

  const run = <T>(expression: string) => page.evaluate<T>(expression)
  /** What is told of a recording, and where it plays. */
  async function uploaded(filename: string, bytes: Uint8Array | string) {
    const { url } = await record(service, bytes, { filename })
    const told = await jsonOf(await service.api('GET', `${url}/details`))
    const link = await jsonOf(await service.api('POST', `${url}/playback-links`))
    return { told, link: link.url as string }
  }

  test.concurrent.for([...AUDIO, ...VIDEO])('what is told of $name is what happens', async ({ name }) => {
    const { told, link } = await uploaded(name, fixtureBytes(name))
    expect(told.plays_in_browsers).toBe(await run(`plays(${JSON.stringify(link)})`))
  })

  test.concurrent.for(
    ['tone.mp3', 'tone.aac', 'tone.m4a', 'tone.wav', 'tone.opus', 'tone.webm', 'tone.flac'].flatMap((name) => [
      [name, 'a tag', id3(zeros(3000))] as const,
      [name, '5,000 zeros', zeros(5000)] as const,
      [name, '1 MiB of zeros', zeros(1024 * 1024)] as const,
    ]),
  )('what is told of %s behind %s is what happens', async ([name, , ahead]) => {
    const { told, link } = await uploaded(name, Buffer.concat([ahead, fixtureBytes(name)]))
    expect(told).toMatchObject({ media_check: 'ok', plays_in_browsers: await run(`plays(${JSON.stringify(link)})`) })
  })

  test.concurrent.for(ODD.filter(({ what }) => /cover|PCM|RF64|BW64|odd/.test(what)))(
    'what is told of $what is what happens',
    async ({ filename, bytes }) => {
      const { told, link } = await uploaded(filename, bytes())
      expect(told.plays_in_browsers).toBe(await run(`plays(${JSON.stringify(link)})`))
    },
  )

  test.skipIf(!hasFfmpeg).concurrent.for(MADE)('what is told of %s is what happens', async ([name]) => {
    const { told, link } = await uploaded(name, made.get(name) ?? '')
    expect(told).toMatchObject({ media_check: 'ok', plays_in_browsers: await run(`plays(${JSON.stringify(link)})`) })
  })

  test.concurrent.for([
    ['audio/webm;codecs=opus', 'webm', 'in one piece', undefined, 0],
    ['audio/webm;codecs=opus', 'webm', 'in slices of 100 ms', 100, 0],
    ['audio/webm;codecs=opus', 'weba', 'in slices of 1 s, with a pause', 1000, 500],
    ['audio/mp4;codecs=opus', 'm4a', 'in one piece', undefined, 0],
    ['audio/mp4;codecs=opus', 'm4a', 'in slices of 100 ms', 100, 0],
    ['audio/mp4;codecs=opus', 'mp4', 'in slices of 200 ms, with a pause', 200, 500],
    ['audio/mp4;codecs=mp4a.40.2', 'm4a', 'in slices of 200 ms', 200, 0],
  ] as const)('records %s as .%s %s: the duration told is what it decodes, within 2 %', async (given, context) => {
    const [mimeType, extension, , timeslice, pauseMs] = given
    const isSupported = await run(`MediaRecorder.isTypeSupported(${JSON.stringify(mimeType)})`)
    if (!isSupported) return context.skip('it has no encoder for it')
    const { base64, heardSeconds } = await run<{ base64: string; heardSeconds: number }>(
      `recorded(${JSON.stringify(mimeType)}, 5000, ${timeslice}, ${pauseMs})`,
    )
    const { told } = await uploaded(`call.${extension}`, Buffer.from(base64, 'base64'))
    expect(told).toMatchObject({ media_check: 'ok', plays_in_browsers: true })
    expect(heardSeconds).toBeGreaterThan(4)
    expect(Math.abs((told.duration_seconds as number) - heardSeconds)).toBeLessThan(0.02 * heardSeconds)
  })
})
