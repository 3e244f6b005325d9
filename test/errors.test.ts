import { describe, expect, test } from 'vitest'
import { asServiceError, ServiceError } from '../src/errors.ts'

const fault = (code: string) => Object.assign(new Error(`${code}: open '/srv/secret/path'`), { code })

describe('what a client is told of a fault of ours', () => {
  test.for([
    ['ENOSPC', 507, 'insufficient_storage'],
    ['EDQUOT', 507, 'insufficient_storage'],
    ['SQLITE_FULL', 507, 'insufficient_storage'],
    ['EMFILE', 503, 'unavailable'],
    ['ENFILE', 503, 'unavailable'],
    ['EIO', 503, 'unavailable'],
    ['EACCES', 503, 'unavailable'],
    ['EROFS', 503, 'unavailable'],
    ['SQLITE_CORRUPT', 503, 'unavailable'],
    ['SQLITE_IOERR_WRITE', 503, 'unavailable'],
    ['SQLITE_CONSTRAINT_NOTNULL', 500, 'internal'],
    ['ERR_INVALID_ARG_TYPE', 500, 'internal'],
  ] as const)('%s: %i, the cause kept and the path not told', ([errno, status, code]) => {
    const bare = fault(errno)
    for (const error of [bare, new Error('the query failed', { cause: bare })]) {
      const told = asServiceError(error)
      expect(told).toMatchObject({ status, code, cause: error })
      expect(told.message).not.toContain('/srv')
      expect(told.headers['Retry-After']).toEqual(status === 500 ? undefined : expect.stringMatching(/^[1-9]\d*$/))
    }
  })

  test('a ServiceError is itself', () => {
    const error = new ServiceError('forbidden', 'No.')
    expect(asServiceError(error)).toBe(error)
  })
})
