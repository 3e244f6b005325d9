/** What `npm version` makes of the files in changelog/, on copies. */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { release } from '../changelog/release.js'

/** Git asks who commits. */
const AUTHOR = Object.fromEntries(
  ['AUTHOR', 'COMMITTER'].flatMap((role) => [
    [`GIT_${role}_NAME`, 'A test'],
    [`GIT_${role}_EMAIL`, 'test@example.org'],
  ]),
)

const folder = mkdtempSync(path.join(tmpdir(), 'changelog-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** A project with these changes, by the names of their files. */
function projectWith(name: string, changes: Record<string, string>, changelog: string): string {
  const root = path.join(folder, name)
  mkdirSync(path.join(root, 'changelog'), { recursive: true })
  writeFileSync(path.join(root, 'CHANGELOG.md'), changelog)
  for (const [file, text] of Object.entries(changes)) writeFileSync(path.join(root, 'changelog', file), text)
  return root
}

test('a release takes in every change by its kind, above the older releases, and leaves none behind', () => {
  const root = projectWith(
    'two-releases',
    {
      'b.md': 'kind: fixed\n\nThe second\nline too.\n',
      'a.md': 'kind: fixed\n\nThe first.\n\nAnd its other half.\n',
      'new.md': 'kind: added\n\nA new thing.\n',
      'release.js': 'is no change',
    },
    '# Changelog\n\n## [Unreleased]\n\nOne file per change.\n\n## [0.9.0] - 2026-01-01\n\n### Added\n\n- The beginning.\n',
  )
  release(root, { version: '1.0.0', date: '2026-12-01' })
  expect(readFileSync(path.join(root, 'CHANGELOG.md'), 'utf8')).toBe(
    [
      '# Changelog\n\n## [Unreleased]\n\nOne file per change.\n\n## [1.0.0] - 2026-12-01\n',
      '### Added\n\n- A new thing.\n',
      '### Fixed\n\n- The first.\n- And its other half.\n- The second\n  line too.\n',
      '## [0.9.0] - 2026-01-01\n\n### Added\n\n- The beginning.\n',
    ].join('\n'),
  )
  expect(readdirSync(path.join(root, 'changelog'))).toEqual(['release.js'])
})

test.for([
  ['no kind', 'Something changed.\n'],
  ['a kind that there is not', 'kind: improved\n\nSomething changed.\n'],
  ['nothing said', 'kind: fixed\n\n\n'],
])('a change with %s stops the release before anything is written', ([name, text]) => {
  const before = '# Changelog\n\n## [Unreleased]\n'
  const root = projectWith(name as string, { 'a.md': 'kind: added\n\nA thing.\n', 'odd.md': text as string }, before)
  expect(() => release(root, { version: '1.0.0', date: '2026-12-01' })).toThrow('odd.md')
  expect(readFileSync(path.join(root, 'CHANGELOG.md'), 'utf8')).toBe(before)
  expect(readdirSync(path.join(root, 'changelog'))).toEqual(['a.md', 'odd.md'])
})

test('the changes that wait for the next release can be released', () => {
  const root = path.join(folder, 'ours')
  cpSync('changelog', path.join(root, 'changelog'), { recursive: true })
  cpSync('CHANGELOG.md', path.join(root, 'CHANGELOG.md'))
  const waiting = readdirSync('changelog').filter((name) => name.endsWith('.md'))
  release(root, { version: '99.0.0', date: '2099-12-31' })
  const text = readFileSync(path.join(root, 'CHANGELOG.md'), 'utf8')
  expect(text).toContain('joins them here.\n\n## [99.0.0] - 2099-12-31\n\n### ')
  expect(waiting.filter((name) => existsSync(path.join(root, 'changelog', name)))).toEqual([])
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'))
  expect(scripts.version).toContain('changelog/release.js')
})

test('`npm version` does it, and the release that it commits has both', () => {
  const root = projectWith('ours-by-npm', { 'a.md': 'kind: added\n\nA thing.\n' }, '# Changelog\n\n## [Unreleased]\n')
  cpSync('changelog/release.js', path.join(root, 'changelog/release.js'))
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'))
  const manifest = { name: 'a', version: '0.1.0', type: 'module', scripts: { version: scripts.version } }
  writeFileSync(path.join(root, 'package.json'), JSON.stringify(manifest))
  // What npm tells the scripts that it runs would lead it back to the project.
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, ...AUTHOR }
  const run = (command: string, ...words: string[]) =>
    execFileSync(command, words, { cwd: root, encoding: 'utf8', env })
  run('git', 'init', '--quiet')
  run('git', 'add', '.')
  run('git', 'commit', '--quiet', '--message', 'before')
  run('npm', 'version', 'minor')
  expect(readFileSync(path.join(root, 'CHANGELOG.md'), 'utf8')).toMatch(
    /## \[0\.2\.0\] - \d{4}-\d\d-\d\d\n\n### Added\n\n- A thing\./,
  )
  expect(run('git', 'show', '--name-status', '--format=%s').trim().split('\n').sort()).toEqual(
    ['0.2.0', '', 'D\tchangelog/a.md', 'M\tCHANGELOG.md', 'M\tpackage.json'].sort(),
  )
})
