/** A supervisor listens in a page of the CRM, in a real browser. */
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hasChromium, servePage, startChromium } from './support/chromium.ts'
import { AUDIO, fixtureBytes } from './support/fixtures.ts'
import { record, type TestRecording } from './support/recordings.ts'
import { movingClock, startService } from './support/service.ts'

if (!hasChromium && process.env.CI) test('Chromium is there (apt-get install chromium)', () => expect.unreachable())

/** The player of docs/clients.md. */
const PLAYER = /```js\n(\/\*\*\n \* Plays a recording[\s\S]*?)```/.exec(
  readFileSync(new URL('../docs/clients.md', import.meta.url), 'utf8'),
)?.[1]

const PAGE = `<!doctype html><title>CRM</title><audio controls></audio><a>download</a>
<script>
${PLAYER}
const audio = document.querySelector('audio')
const ends = []
const next = (event) => new Promise((resolve, reject) => {
  audio.addEventListener(event, resolve, { once: true })
  setTimeout(() => reject(new Error('no ' + event + ', error ' + audio.error?.message)), 20_000)
})
const seek = async (at) => { const seeked = next('seeked'); audio.currentTime = at; await seeked }
// Paused while it seeks: one that ended by itself before would stay paused and never end again.
const playOut = async (from) => { audio.pause(); await seek(from); const ended = next('ended'); audio.play(); await ended }
</script>`

/** Ten minutes of telephone sound that grows louder: 9.6 MB, more than a browser loads ahead. */
function longWav(): Buffer {
  const seconds = 600
  const rate = 8_000
  const wav = Buffer.alloc(44 + 2 * seconds * rate)
  wav.write('RIFF', 0)
  wav.writeUInt32LE(wav.length - 8, 4)
  wav.write('WAVEfmt ', 8)
  wav.writeUInt32LE(16, 16)
  wav.writeUInt16LE(1, 20)
  wav.writeUInt16LE(1, 22)
  wav.writeUInt32LE(rate, 24)
  wav.writeUInt32LE(2 * rate, 28)
  wav.writeUInt16LE(2, 32)
  wav.writeUInt16LE(16, 34)
  wav.write('data', 36)
  wav.writeUInt32LE(wav.length - 44, 40)
  for (let i = 0; i < seconds * rate; i++) {
    wav.writeInt16LE(Math.round((Math.sin(i / 4) * 20_000 * i) / (seconds * rate)), 44 + 2 * i)
  }
  return wav
}

describe.skipIf(!hasChromium)('in Chromium (skipped without the package chromium)', async () => {
  const clock = movingClock()
  const service = await startService({ clock })
  const supervisor = service.tokens.supervisor
  let browser: Browser
  let crm: Awaited<ReturnType<typeof servePage>>
  let long: TestRecording

  beforeAll(async () => {
    ;[browser, crm, long] = await Promise.all([startChromium(), servePage(PAGE), record(service, longWav())])
  }, 60_000)
  afterAll(async () => {
    crm?.stop()
    await browser?.close()
  })

  /** A page of the CRM that listens to a recording, and what it asked the service for. */
  async function listening({ url }: TestRecording) {
    const page = await browser.newPage()
    const asked: { range: string | undefined; status: number; contentRange: string | undefined }[] = []
    page.on('response', async (response) => {
      if (!response.url().includes('?token=')) return
      // The page may be closed while its last answers come.
      const headers = await response
        .request()
        .allHeaders()
        .catch(() => undefined)
      if (!headers) return
      const { range } = headers
      asked.push({ range, status: response.status(), contentRange: response.headers()['content-range'] })
    })
    await page.goto(crm.origin)
    await run(
      page,
      `listen(audio, ${JSON.stringify(url)}, () => ${JSON.stringify(supervisor)}, (...why) => ends.push(why))`,
    )
    return { page, asked }
  }

  /** Without the page's own stack, which no file here explains. */
  const run = <T>(page: Page, expression: string) =>
    page.evaluate<T>(expression).catch((error: Error) => {
      throw new Error(error.message.split('\n', 1)[0])
    })

  const positionOf = (page: Page) => run<number>(page, 'audio.currentTime')
  const untilReady = (page: Page) => page.waitForFunction('audio.readyState >= 2 || ends.length > 0')
  const endsOf = (page: Page) => run<[string | number, string?][]>(page, 'ends')

  test.concurrent.for(AUDIO.filter(({ plays }) => plays))(
    '$name plays, seeks to the middle and to the end',
    async ({ name, durationSeconds }) => {
      const { page, asked } = await listening(await record(service, fixtureBytes(name), { filename: name }))
      await untilReady(page)
      expect(await endsOf(page)).toEqual([])
      const duration = await run<number>(page, 'audio.duration')
      expect(Math.abs(duration - (durationSeconds ?? 0))).toBeLessThan(0.15)

      await run(page, `seek(${duration / 2})`)
      expect(await positionOf(page)).toBeCloseTo(duration / 2, 1)
      await run(page, 'Promise.all([next("timeupdate"), audio.play()])')
      await run(page, `playOut(${duration - 0.1})`)
      expect(await positionOf(page)).toBeCloseTo(await run<number>(page, 'audio.duration'), 1)

      expect(asked.length).toBeGreaterThan(0)
      for (const { range, status } of asked) expect([range?.slice(0, 6), status]).toEqual(['bytes=', 206])
      await page.close()
    },
  )

  test.concurrent.for(AUDIO.filter(({ plays }) => !plays))(
    '$name, which it can not play, is offered as a download',
    async ({ name }) => {
      const { page } = await listening(await record(service, fixtureBytes(name), { filename: name }))
      await page.waitForFunction('ends.length > 0')
      expect(await endsOf(page)).toEqual([['unplayable', expect.stringMatching(/&download$/)]])
      const downloading = page.waitForEvent('download')
      await run(page, 'Object.assign(document.querySelector("a"), { href: ends[0][1] }).click()')
      const download = await downloading
      expect(download.suggestedFilename()).toBe(name)
      expect((await readFile(await download.path())).equals(fixtureBytes(name))).toBe(true)
      await page.close()
    },
  )

  test('a long recording is not loaded whole to hear its end', async () => {
    const { page, asked } = await listening(long)
    await untilReady(page)
    expect(await run<number>(page, 'audio.duration')).toBeCloseTo(600, 0)
    for (const at of [590, 300]) {
      await run(page, `seek(${at})`)
      expect(await positionOf(page)).toBeCloseTo(at, 1)
    }
    const starts = asked.map(({ contentRange }) => Number(/^bytes (\d+)-/.exec(contentRange ?? '')?.[1]))
    expect(starts[0]).toBe(0)
    expect(starts.some((start) => start > 9_000_000)).toBe(true)
    expect(asked.every(({ status }) => status === 206)).toBe(true)
    await page.close()
  })

  test.for([
    ['by the page, which asks in time', true],
    ['by the server alone, whose refusal the page looks into', false],
  ] as const)(
    'the link ends while the page is open, known %s: it goes on where the listener was',
    async ([, pageKnows]) => {
      const { page, asked } = await listening(long)
      await untilReady(page)
      await run(page, 'audio.play()')
      await run(page, 'seek(100)')
      clock.advance(11 * 60_000)
      if (pageKnows) await run(page, '{ const now = Date.now; Date.now = () => now() + 11 * 60_000 }')
      await run(page, 'audio.currentTime = 500')
      await page.waitForFunction('audio.readyState >= 2 && !audio.paused && audio.currentTime > 500')
      expect(await positionOf(page)).toBeLessThan(510)
      expect(await endsOf(page)).toEqual([])
      if (!pageKnows) expect(asked.map(({ status }) => status)).toContain(401)
      await page.close()
    },
  )

  test('the recording is deleted while the page is open: the page learns that it is gone', async () => {
    const doomed = await record(service, longWav())
    const { page } = await listening(doomed)
    await untilReady(page)
    expect((await service.api('DELETE', doomed.url)).status).toBe(204)
    await run(page, 'audio.currentTime = 500')
    await page.waitForFunction('ends.length > 0')
    expect(await endsOf(page)).toEqual([[404]])
    await page.close()
  })

  test('the Web Audio API may use it (crossorigin)', async () => {
    const { page } = await listening(await record(service, fixtureBytes('tone.wav')))
    await run(page, `audio.crossOrigin = 'anonymous'; audio.load(); new AudioContext().createMediaElementSource(audio)`)
    await untilReady(page)
    expect(await endsOf(page)).toEqual([])
    await page.close()
  })

  test('a link opened by itself plays, and nothing in it runs', async () => {
    const { url } = await record(service, fixtureBytes('tone.mp3'), { filename: 'tone.mp3' })
    const made = await service.api('POST', `${url}/playback-links`, { token: supervisor })
    const page = await browser.newPage()
    await page.goto(((await made.json()) as { url: string }).url)
    await page.waitForFunction('document.querySelector("video")?.readyState >= 2')

    const script = await record(service, '<!doctype html><script>document.title = "ran"</script>')
    const link = await service.api('POST', `${script.url}/playback-links`, { token: supervisor })
    await page.goto(((await link.json()) as { url: string }).url)
    expect(await page.title()).not.toBe('ran')
    await page.close()
  })
})
