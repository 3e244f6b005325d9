import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
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
