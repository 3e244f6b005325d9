/**
 * What an import writes to: the server's tables, beside it if it runs, or for a trial a database of its own that is thrown away
 * and lies in front of them. Rows that an import would have made are then there for those behind them.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../clock.ts'
import { systemClock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { callLogCopied, callLogsAmong, leadCopied, leadsAmong } from '../db/copying.ts'
import type { Database, Reading, Statement } from '../db/database.ts'
import type { CallLog, Lead } from '../db/schema.ts'
import { openSqlite } from '../db/sqlite.ts'
import { ServiceError } from '../errors.ts'
import { byId } from './both-ends.ts'
import { assertTables, openTables, openTablesForWriting } from './existing.ts'

/** Rows that some others refer to, as they stand. */
export interface Known {
  leads: Map<string, Lead>
  calls: Map<string, CallLog>
}

export interface ImportTarget {
  clock: Clock
  known(leadIds: readonly string[], callIds: readonly string[]): Promise<Known>
  /** @param rows as they are afterwards, if nothing else changes them */
  write(statements: readonly Statement[], rows: Known): Promise<void>
  close(): Promise<void>
}

/** A write waits for its turn for four seconds each time. */
const BUSY_ATTEMPTS = 15

async function knownIn(db: Reading, leadIds: readonly string[], callIds: readonly string[]): Promise<Known> {
  const leads = leadIds.length > 0 ? await leadsAmong(db, leadIds) : []
  const calls = callIds.length > 0 ? await callLogsAmong(db, callIds) : []
  return { leads: byId(leads), calls: byId(calls) }
}

async function written(db: Database, statements: readonly Statement[]): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await db.write(...statements)
      return
    } catch (error) {
      const isBusy = error instanceof ServiceError && error.code === 'busy'
      if (!isBusy || attempt === BUSY_ATTEMPTS) throw error
    }
  }
}

async function openOwn(config: Config): Promise<ImportTarget> {
  const db = await openTablesForWriting(config)
  return {
    clock: db.clock,
    known: (leadIds, callIds) => knownIn(db, leadIds, callIds),
    async write(statements) {
      const begunAtMs = performance.now()
      await written(db, statements)
      // One may write at a time to a file: the server has as much of the time as this has.
      if (!config.postgres) await sleep(performance.now() - begunAtMs)
    },
    close: () => db.close(),
  }
}

async function openTrial(config: Config): Promise<ImportTarget> {
  const tables = await openTables(config)
  const folder = await mkdtemp(path.join(tmpdir(), 'import-trial-'))
  // Its names go at once, so that it goes with the process, whatever ends that.
  const trial = await openSqlite(path.join(folder, 'trial.db'))
    .finally(() => rm(folder, { recursive: true, force: true }))
    .catch(async (error) => {
      await tables.close()
      throw error
    })
  return {
    clock: systemClock,
    async known(leadIds, callIds) {
      const [behind, ahead] = await Promise.all([knownIn(tables, leadIds, callIds), knownIn(trial, leadIds, callIds)])
      return {
        leads: new Map([...behind.leads, ...ahead.leads]),
        calls: new Map([...behind.calls, ...ahead.calls]),
      }
    },
    async write(_statements, { leads, calls }) {
      await trial.write(...Array.from(leads.values(), leadCopied), ...Array.from(calls.values(), callLogCopied))
    },
    async close() {
      await tables.close()
      await trial.close()
    },
  }
}

/** @throws a sentence for the operator */
export async function openImportTarget(config: Config, isTrial: boolean): Promise<ImportTarget> {
  const tables = await openTables(config)
  await assertTables(config, tables).finally(() => tables.close())
  return (isTrial ? openTrial : openOwn)(config)
}
