/** A place that a command can't use is told with what to do, in place of what the system calls it. */
import { expect, test } from 'vitest'
import { wordsOf } from '../src/cli/fault-words.ts'

const fault = (code: string, path?: string) =>
  Object.assign(new Error(`${code}: as the system says it, mkdir`), { code, syscall: 'mkdir', path })

test.for([
  [
    'EACCES',
    /^\/place: this user may not mkdir there \(EACCES, uid \d+\): run the command as the service's user, or make/,
  ],
  ['EPERM', /^\/place: this user may not mkdir there \(EPERM, uid \d+\)/],
  ['ENOSPC', /^\/place: there is no room for it \(ENOSPC\): make room, and run the same again$/],
  ['EDQUOT', /^\/place: there is no room for it \(EDQUOT\)/],
  ['EROFS', /^\/place is on a file system that takes no write \(EROFS\): name another place$/],
] as const)('%s of a place is a sentence that says what to do', ([code, sentence]) => {
  expect(wordsOf(fault(code, '/place'))).toMatch(sentence)
})

test('what is of no place, or foreseen by a command, stays as it is said', () => {
  expect(wordsOf(fault('EACCES'))).toBe('EACCES: as the system says it, mkdir')
  expect(wordsOf(fault('EIO', '/place'))).toBe('EIO: as the system says it, mkdir')
})
