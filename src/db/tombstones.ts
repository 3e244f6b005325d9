/** Files of deleted recordings that are still to be removed. */
import { asc, eq, gt, sql } from 'drizzle-orm'
import { textsAmong } from './among.ts'
import { bind, kept, type Reading, type Statement } from './database.ts'
import { rowOf } from './placeholders.ts'
import { tombstones } from './schema.ts'

const insert = kept((orm) => orm.insert(tombstones).values(rowOf(tombstones)))
const remove = kept((orm) => orm.delete(tombstones).where(eq(tombstones.path, sql.placeholder('path'))))
const page = kept((orm) =>
  orm
    .select({ id: tombstones.path })
    .from(tombstones)
    .where(gt(tombstones.path, sql.placeholder('after')))
    .orderBy(asc(tombstones.path))
    .limit(sql.placeholder('limit')),
)

export const tombstoneSet = (path: string): Statement => bind(insert, { path })
export const tombstoneGone = (path: string): Statement => bind(remove, { path })

/** Some of them by their path, which stands for an id. */
export const tombstonesAfter = (db: Reading, after: string, limit: number) => db.all(page, { after, limit })

/** Those of the paths that have one. */
export const tombstonesAmong = (db: Reading, paths: readonly string[]) => textsAmong(db, tombstones.path, paths)
