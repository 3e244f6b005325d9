/** What `deploy/` ships for several instances, as far as a machine without Docker and Kubernetes can tell. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { readConfig } from '../src/config/config.ts'

const text = (name: string) => readFileSync(`deploy/${name}`, 'utf8')
const FILLED = {
  POSTGRES_PASSWORD: 'pass-word',
  S3_SECRET_KEY: 'key',
  ...secrets('RECORDINGS_JWT_SECRET', 'RECORDINGS_PLAYBACK_LINK_SECRET'),
}

function secrets(...names: string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, `a value for ${name}, at least thirty-two bytes`]))
}

/** As `docker compose` fills in variables. */
const filled = (value: string) =>
  value.replace(/\$\{(\w+):\?[^}]*\}/g, (_, name: keyof typeof FILLED) => FILLED[name] ?? expect.unreachable(name))

describe('compose.yaml', () => {
  const { services } = parse(text('compose.yaml'), { merge: true }) as {
    services: Record<string, { environment?: Record<string, string>; depends_on?: unknown }>
  }

  test.for(['one', 'two'])('starts instance %s with settings that it takes', (name) => {
    const entries = Object.entries(services[name]?.environment ?? {}).map(([key, value]) => [key, filled(value)])
    const config = readConfig({ NODE_ENV: 'production', RECORDINGS_DATA_DIR: '/data', ...Object.fromEntries(entries) })
    expect(config).toMatchObject({ store: { bucket: 'recordings', pathStyle: true }, trustProxy: 1 })
    expect(config.postgres?.url.text).toContain('@postgres:5432/recordings')
  })

  test.for(['one', 'two'])('instance %s writes to its volume alone, and has no rights', (name) => {
    expect(services[name]).toMatchObject({
      read_only: true,
      tmpfs: ['/tmp'],
      volumes: [`${name}:/data`],
      cap_drop: ['ALL'],
      security_opt: ['no-new-privileges:true'],
    })
  })

  test('has a service for each name that another one turns to', () => {
    const names = Object.keys(services)
    for (const { depends_on = [] } of Object.values(services)) {
      expect(names).toEqual(
        expect.arrayContaining(Array.isArray(depends_on) ? depends_on : Object.keys(depends_on as object)),
      )
    }
    for (const [, host] of text('compose-nginx.conf').matchAll(/server (\w+):3000;/g)) expect(names).toContain(host)
  })
})

test('kubernetes.yaml names settings that the service takes, with those of the secret beside them', () => {
  const [deployment] = parseAllDocuments(text('kubernetes.yaml')).map((document) => document.toJS())
  const [container] = deployment.spec.template.spec.containers
  const given = Object.fromEntries(
    container.env.map(({ name, value }: { name: string; value: string }) => [name, value]),
  )
  const config = readConfig({
    NODE_ENV: 'production',
    RECORDINGS_DATA_DIR: '/data',
    ...secrets('RECORDINGS_JWT_SECRET', 'RECORDINGS_PLAYBACK_LINK_SECRET'),
    RECORDINGS_DATABASE_URL: 'postgres://recordings:pass-word@db/recordings',
    ...given,
  })
  expect(config.store).toMatchObject({ bucket: 'recordings', prefix: 'production/' })
  expect(deployment.spec.template.spec.terminationGracePeriodSeconds * 1_000).toBeGreaterThan(
    config.shutdownGraceMs + 5_000,
  )
  expect([container.livenessProbe.httpGet.path, container.readinessProbe.httpGet.path]).toEqual(['/livez', '/readyz'])
})

test('the unit of an instance is the service’s own but for its port, its name and its directory', () => {
  const ofOne = text('call-recordings.service').split('\n')
  const ofMany = text('call-recordings@.service').split('\n')
  const own = ofMany.filter((line) => !line.startsWith('#') && !ofOne.includes(line))
  expect(own).toEqual([
    'Description=Call recordings on port %i',
    'StateDirectory=call-recordings-%i',
    'Environment=NODE_ENV=production HOST=127.0.0.1 PORT=%i RECORDINGS_DATA_DIR=/var/lib/call-recordings-%i',
  ])
  expect(ofMany.length - ofOne.length).toBe(2)
})

test('the image has all that the service is started from', () => {
  const copied = [...text('Dockerfile').matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, names = '']) =>
    names.split(' '),
  )
  expect(new Set(copied)).toEqual(
    new Set(['package.json', 'package-lock.json', 'rolldown.config.ts', 'bin', 'src', 'drizzle']),
  )
  const kept = readFileSync('.dockerignore', 'utf8')
    .match(/^!.*$/gm)
    ?.map((line) => line.slice(1))
  expect(new Set(kept)).toEqual(new Set(copied))
  expect(JSON.parse(readFileSync('package.json', 'utf8')).scripts.start).toContain(
    '--disable-sigusr1 --max-semi-space-size=16 bin/call-recordings.js start',
  )
})
