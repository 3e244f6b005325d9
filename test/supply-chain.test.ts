/** What of others' comes with the product: what it is, and what of it may run when it is installed. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'

interface Locked {
  version: string
  dev?: boolean
  devOptional?: boolean
  optional?: boolean
  hasInstallScript?: boolean
}

const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as { packages: Record<string, Locked> }
const manifest = JSON.parse(readFileSync('package.json', 'utf8'))
/** `@a/b` of `node_modules/x/node_modules/@a/b`. */
const nameOf = (place: string) => place.split('node_modules/').at(-1) ?? ''
const locked = Object.entries(packages).filter(([place]) => place !== '')

const folder = mkdtempSync(path.join(tmpdir(), 'supply-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('every package with an install script is named in allowScripts, and only one of them may run it', () => {
  const scripted = new Set(
    locked.filter(([, { hasInstallScript }]) => hasInstallScript).map(([place]) => nameOf(place)),
  )
  expect([...scripted].filter((name) => manifest.allowScripts[name] === undefined)).toEqual([])
  expect(Object.keys(manifest.allowScripts).filter((name) => manifest.allowScripts[name])).toEqual(['node'])
})

test('what the project asks for is asked for in exact versions', () => {
  const asked = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.peerDependencies }
  expect(Object.values(asked).filter((version) => !/^\d+\.\d+\.\d+$/.test(version as string))).toEqual([])
})

test('npm run sbom names every package that is not for development alone, with its version, and where it is from', () => {
  const file = path.join(folder, 'sbom.json')
  execFileSync('npm', ['run', '--silent', 'sbom', '--', '--output-file', file], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const bom = JSON.parse(readFileSync(file, 'utf8'))
  expect(bom).toMatchObject({ bomFormat: 'CycloneDX', metadata: { component: { name: manifest.name } } })
  interface Component {
    group?: string
    name: string
    version: string
    purl: string
    components?: Component[]
  }
  const all = (components: Component[]): Component[] =>
    components.flatMap((each) => [each, ...all(each.components ?? [])])
  const components = all(bom.components)
  const told = components.map(({ group, name, version }) => `${group ? `${group}/` : ''}${name}@${version}`)
  const ours = locked.filter(([, { dev, devOptional }]) => !dev && !devOptional)
  expect(
    ours.map(([place, { version }]) => `${nameOf(place)}@${version}`).filter((each) => !told.includes(each)),
  ).toEqual([])
  expect(told.length).toBeGreaterThan(50)
  expect(told.filter((each) => /^(vitest|typescript|@biomejs)/.test(each))).toEqual([])
  expect(components.filter(({ purl }) => !purl.startsWith('pkg:npm/'))).toEqual([])
})
