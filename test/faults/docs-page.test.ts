/** The page at /docs, in a real browser: all operations, executed too, under its policy, with nothing of another host. */
import { readFileSync } from 'node:fs'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hasChromium, startChromium } from '../support/chromium.ts'
import { contractOf, operationsOf } from '../support/contract.ts'
import { record } from '../support/recordings.ts'
import { startService } from '../support/service.ts'

if (!hasChromium && process.env.CI) test('Chromium is there (apt-get install chromium)', () => expect.unreachable())

const harness = await startService()

test('an address with a slash at its end leads to the page', async () => {
  const { url } = await fetch(`${harness.url}/docs/`)
  expect(url).toBe(`${harness.url}/docs`)
})

test('the page and what it loads may be asked for again cheaply, and no other file is given', async () => {
  for (const [path, type] of [
    ['/docs', 'text/html'],
    ['/docs/open.js', 'text/javascript'],
    ['/docs/swagger-ui-bundle.js', 'text/javascript'],
    ['/docs/swagger-ui.css', 'text/css'],
  ] as const) {
    const res = await fetch(harness.url + path)
    expect([res.status, res.headers.get('content-type')]).toEqual([200, `${type}; charset=utf-8`])
    expect(res.headers.get('cache-control')).toBe('no-cache')
  }
  for (const path of ['index.html', 'swagger-ui-bundle.js.map', '..%2fpackage.json', 'package.json', '%00']) {
    expect((await fetch(`${harness.url}/docs/${path}`)).status).toBe(404)
  }
})

describe.skipIf(!hasChromium)('in Chromium (skipped without the package chromium)', () => {
  let browser: Browser
  beforeAll(async () => {
    browser = await startChromium()
  }, 60_000)
  afterAll(() => browser?.close())

  test('it shows all operations, and they run with a pasted token', { timeout: 60_000 }, async () => {
    const recording = await record(harness, readFileSync('test/fixtures/tone.mp3'), { filename: 'tone.mp3' })
    const page = await browser.newPage()
    const foreign: string[] = []
    const complaints: string[] = []
    page.on('request', (request) => {
      if (!request.url().startsWith(harness.url) && !/^(data|blob):/.test(request.url())) foreign.push(request.url())
    })
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text())
    })
    page.on('pageerror', (error) => complaints.push(error.message))
    await page.goto(`${harness.url}/docs`)

    const shown = page.locator('.opblock')
    await shown.first().waitFor()
    const operations = operationsOf(await contractOf(harness.url))
    expect(await shown.count()).toBe(operations.length)

    await page.locator('.auth-wrapper .authorize').first().click()
    await page.locator('.modal-ux input').first().fill(harness.tokens.telecaller)
    await page.locator('.modal-ux .auth.authorize').first().click()
    await page.locator('.modal-ux .btn-done').first().click()

    const execute = async (operation: string, given: Record<string, string>) => {
      const block = page.locator(`[id$="-${operation}"]`)
      await block.locator('.opblock-summary-control').click()
      await block.locator('.try-out__btn').click()
      for (const [name, value] of Object.entries(given)) {
        await block.locator(`tr[data-param-name="${name}"] input`).fill(value)
      }
      await block.locator('.execute').click()
      const status = block.locator('.live-responses-table .response-col_status').last()
      await status.waitFor()
      return [
        (await status.textContent())?.trim().slice(0, 3),
        await block.locator('.live-responses-table').textContent(),
      ]
    }
    const { leadId, id } = recording
    const [status, text] = await execute('listRecordings', { lead_id: leadId })
    expect(status).toBe('200')
    expect(text).toContain(id)
    expect((await execute('livez', {}))[0]).toBe('200')

    expect({ foreign, complaints }).toEqual({ foreign: [], complaints: [] })
    await page.close()
  })

  test('its policy lets no script run that stands in a page', async () => {
    const policy = (await fetch(`${harness.url}/docs`)).headers.get('content-security-policy') ?? ''
    expect(policy).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self';/)
    expect(policy).not.toContain('unsafe')
  })
})
