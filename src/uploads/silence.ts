/**
 * How long uploads have been silent, by stored times and a clock that others set.
 *
 * When the clock jumps ahead, no upload has become any more silent: the times of open ones move along, and until they
 * have, the jump is not believed. When it was set back, times that now lie in the future become the present, or their
 * uploads would stay open until then. What happens to the clock while no server runs can't be told from time passing.
 *
 * Instances that share a database share its clock, and each sees it jump. The times in the table are moved by the one that
 * leads; the others wait until that has been done for certain before they believe the jump too.
 */
import type { Clock } from '../clock.ts'
import type { Database } from '../db/database.ts'
import { isAnyHeardAfter, timesMoved, timesSetBack } from '../db/uploads-swept.ts'

/** Clocks are corrected by less than this all the time. */
const JUMP_MS = 60_000

/** The leader looks at the clock every few seconds. */
const MOVED_BY_LEADER_MS = 15_000

/** The stored time as it must be now. */
export type Moved = (ms: number) => number

export type Silence = ReturnType<typeof createSilence>

export function createSilence({ db, clock }: { db: Database; clock: Clock }) {
  const passedMs = () => clock.passed?.() ?? clock.now()
  let followed = { nowMs: clock.now(), passedMs: passedMs() }

  /** When a jump was first seen, of which the leader is to write. */
  let seenMs: number | undefined

  /** How far the clock has jumped ahead since it was last followed; whole, as stored times are. */
  function jumpMs(): number {
    const jump = Math.round(clock.now() - followed.nowMs - (passedMs() - followed.passedMs))
    return jump > JUMP_MS ? jump : 0
  }

  return {
    /** The time to compare stored times with. */
    nowMs: (): number => clock.now() - jumpMs(),

    /**
     * Takes the stored times of open uploads along with the clock.
     *
     * @param isLeading whether those in the table are moved here
     * @param also does the same to those in memory
     */
    async follow(isLeading: boolean, also: (moved: Moved) => void): Promise<void> {
      const jump = jumpMs()
      const nowMs = clock.now()
      if (!isLeading) {
        seenMs = jump > 0 ? (seenMs ?? passedMs()) : undefined
        if (seenMs !== undefined && passedMs() - seenMs < MOVED_BY_LEADER_MS) return
      } else if (jump > 0) await db.write(timesMoved(jump, nowMs))
      else if (await isAnyHeardAfter(db, nowMs + JUMP_MS)) await db.write(timesSetBack(nowMs + JUMP_MS, nowMs))
      also((ms) => (jump > 0 || ms > nowMs + JUMP_MS ? Math.min(ms + jump, nowMs) : ms))
      seenMs = undefined
      followed = { nowMs, passedMs: passedMs() - (clock.now() - nowMs) }
    },
  }
}
