/** Where things lie, as far as settings say it. No file is touched. */
import path from 'node:path'
import type { Values } from './settings.ts'

export function namedPaths(values: Values) {
  const dataDir = values.RECORDINGS_DATA_DIR ?? path.resolve('data')
  return {
    dataDir,
    database: path.join(dataDir, 'recordings.db'),
    recordings: values.RECORDINGS_DIR ?? path.join(dataDir, 'recordings'),
    uploads: values.RECORDINGS_UPLOADS_DIR ?? path.join(dataDir, 'uploads'),
  }
}
