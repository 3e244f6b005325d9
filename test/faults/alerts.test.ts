/** Dashboard and alerts, held against what the service tells under load, and the operator's page against both. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { record } from '../support/recordings.ts'
import { samplesIn } from '../support/scrape.ts'
import { startService } from '../support/service.ts'
import { tusClient } from '../support/tus.ts'

const hasPromtool = spawnSync('promtool', ['--version']).status === 0
if (!hasPromtool && process.env.CI) test('promtool is there (apt-get install prometheus)', () => expect.unreachable())

interface Rule {
  alert: string
  expr: string
  labels: { severity: string }
  annotations: { summary: string }
}

const { groups } = parse(readFileSync('deploy/alerts.yml', 'utf8')) as { groups: { rules: Rule[] }[] }
const rules = groups.flatMap((group) => group.rules)
const dashboard = JSON.parse(readFileSync('deploy/grafana.json', 'utf8')) as {
  panels: { id: number; title: string; targets: { expr: string }[] }[]
}
const page = readFileSync('docs/operating.md', 'utf8')

const harness = await startService()
const lead = await harness.lead()
const tus = tusClient(harness.tokens.telecaller)
await Promise.all(
  Array.from({ length: 20 }, async () => {
    const { url } = await record(harness, 'x'.repeat(10_000), { lead })
    await (await harness.api('GET', url)).arrayBuffer()
    await harness.api('GET', `${url}/none`)
    await tus.head(await tus.begin(lead, 4))
  }),
)
const scraped = await (await fetch(`${harness.url}/metrics`)).text()
const families = Array.from(scraped.matchAll(/^# TYPE (\S+) (\S+)$/gm), ([, name = '', type]) => ({ name, type }))
const known = new Set(
  families.flatMap(({ name, type }) =>
    type === 'histogram' ? ['_bucket', '_count', '_sum'].map((end) => name + end) : [name],
  ),
)
const samples = samplesIn(scraped)

/** The metrics of an expression, each with what it asks of their labels. */
function askedIn(expr: string) {
  const selectors = expr.matchAll(/\b((?:call_recordings|process|nodejs)_\w+)(?:\{([^}]*)\})?/g)
  return Array.from(selectors, ([, name = '', labels = '']) => ({
    name,
    labels: Array.from(labels.matchAll(/(\w+)=~?"([^"]*)"/g), ([, label = '', value = '']) => [label, value] as const),
  }))
}

/** What an expression asks for that the service does not tell. */
function strangeIn(expr: string): string[] {
  return askedIn(expr).flatMap(({ name, labels }) => {
    if (!known.has(name)) return [name]
    return labels.flatMap(([label, value]) => {
      // Prometheus' own, and what only comes with a request that fails.
      if (['instance', 'job', 'status'].includes(label)) return []
      const told = new Set(samples.filter((sample) => sample.name === name).map((sample) => sample.labels[label]))
      return value.split('|').flatMap((each) => (told.has(each) ? [] : [`${name}{${label}="${each}"}`]))
    })
  })
}

test('the dashboard asks for nothing that the service does not tell', () => {
  expect(dashboard.panels.length).toBeGreaterThan(10)
  expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length)
  for (const { title, targets } of dashboard.panels) {
    expect([title, targets.length > 0, targets.flatMap(({ expr }) => strangeIn(expr))]).toEqual([title, true, []])
  }
})

test('the alerts ask for nothing that the service does not tell', () => {
  for (const { alert, expr } of rules) expect([alert, strangeIn(expr)]).toEqual([alert, []])
  expect(strangeIn('rate(call_recordings_nothing_total{event="x"}[5m])')).not.toEqual([])
  expect(strangeIn('rate(call_recordings_events_total{event="x"}[5m])')).not.toEqual([])
})

test('docs/operating.md says of each alert what to do, and of each metric what it is', () => {
  const rowsBelow = (head: string) => {
    const text = page.slice(page.indexOf(head))
    return Array.from(
      text.slice(0, text.indexOf('\n\n', text.indexOf('\n|---'))).matchAll(/^\| `(\w+)`/gm),
      ([, n]) => n,
    )
  }
  expect(rowsBelow('| alert |')).toEqual(rules.map(({ alert }) => alert))
  expect(rowsBelow('| metric |').sort()).toEqual(families.map(({ name }) => name).sort())
})

test('each alert is tried in both directions', () => {
  const { tests } = parse(readFileSync('deploy/alerts.test.yml', 'utf8')) as {
    tests: { alert_rule_test: { alertname: string; exp_alerts: unknown[] }[] }[]
  }
  const tried = tests.flatMap(({ alert_rule_test }) => alert_rule_test)
  for (const { alert } of rules) {
    const outcomes = tried.filter(({ alertname }) => alertname === alert).map(({ exp_alerts }) => exp_alerts.length)
    expect([alert, outcomes]).toEqual([alert, [1, 0]])
  }
})

describe.skipIf(!hasPromtool)('promtool (skipped without the package prometheus)', () => {
  const promtool = (args: string[], input?: string) => {
    const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8', input })
    return { status, said: stdout + stderr }
  }

  test('finds nothing to say of the metrics', () => {
    expect(promtool(['check', 'metrics'], scraped)).toEqual({ status: 0, said: '' })
  })

  test('takes the rules, and sees them fire when they should', { timeout: 120_000 }, () => {
    expect(promtool(['check', 'rules', 'deploy/alerts.yml'])).toMatchObject({ status: 0 })
    expect(promtool(['test', 'rules', 'deploy/alerts.test.yml'])).toMatchObject({ status: 0 })
  })
})
