import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { CATALOGUE } from '../src/cli/catalogue.ts'
import { settingDefaults } from '../src/config/settings.ts'

test('docs/operating.md lists every setting with the default that it has, and no other', () => {
  const text = readFileSync('docs/operating.md', 'utf8')
  const section = text.slice(text.indexOf('## Settings'), text.indexOf('## What lies where'))
  const listed = Array.from(section.matchAll(/^\| `([A-Z0-9_]+)` \| (?:`([^`]*)`|none) \| \S/gm), ([, name, value]) => [
    name,
    value,
  ])
  expect(Object.fromEntries(listed)).toEqual(Object.fromEntries(settingDefaults()))
  expect(listed).toHaveLength(settingDefaults().size)
})

test('docs/operating.md lists every command, in the order of the help', () => {
  const text = readFileSync('docs/operating.md', 'utf8')
  const section = text.slice(text.indexOf('## Commands'), text.indexOf('| exit code |'))
  const listed = Array.from(section.matchAll(/^\| `([a-z]+(?:[ -][a-z]+)*)[^`]*` \| \S/gm), ([, name]) => name)
  expect(listed).toEqual(CATALOGUE.flatMap(([, commands]) => commands.map(({ name }) => name)))
})
