/**
 * Playback links: an address that plays one recording for a while, for players that can't send a header.
 *
 * The token in it is a JWT of a kind of its own: own key, own `typ`, and the recording as its audience. So it is no
 * login, and a login is no link. It says who asked for it; what they may hear is asked of the database at every use.
 */
import { errors as joseErrors, jwtVerify, SignJWT } from 'jose'
import type { Clock } from '../clock.ts'
import { ServiceError } from '../errors.ts'
import { isCallerId } from '../ids.ts'
import { type Caller, ROLES, type Role } from '../leads/rights.ts'

const TYPE = 'playback-link+jwt'
const ALGORITHM = 'HS256'

export interface PlaybackLinks {
  /** A token for one recording, as `caller`; it ends `seconds` from now. */
  make(caller: Caller, recordingId: string, seconds: number): Promise<{ token: string; expiresAtMs: number }>
  /**
   * Who asked for the link.
   *
   * @throws ServiceError `link_expired`; `link_invalid` for anything else, another recording's link included
   */
  verify(token: string, recordingId: string): Promise<Caller>
}

const refused = (code: 'link_invalid' | 'link_expired', sentence: string, cause?: unknown) =>
  new ServiceError(code, sentence, {
    cause,
    headers: {
      'WWW-Authenticate': `Bearer realm="call-recordings", error="invalid_token", error_description="${sentence}"`,
    },
  })

/** @param key 32 bytes or more that sign nothing else */
export function createPlaybackLinks(key: Uint8Array, clock: Clock): PlaybackLinks {
  return {
    async make(caller, recordingId, seconds) {
      // Whole seconds, as JWTs have them; the address lives no longer than it says.
      const expiresAt = Math.floor(clock.now() / 1000) + seconds
      const token = await new SignJWT({ role: caller.role })
        .setProtectedHeader({ alg: ALGORITHM, typ: TYPE })
        .setSubject(caller.id)
        .setAudience(recordingId)
        .setExpirationTime(expiresAt)
        .sign(key)
      return { token, expiresAtMs: expiresAt * 1000 }
    },

    async verify(token, recordingId) {
      try {
        const { payload } = await jwtVerify(token, key, {
          algorithms: [ALGORITHM],
          typ: TYPE,
          audience: recordingId,
          requiredClaims: ['sub', 'role', 'exp', 'aud'],
          currentDate: new Date(clock.now()),
        })
        const { sub, role } = payload
        if (!isCallerId(sub) || !ROLES.includes(role as Role))
          throw refused('link_invalid', 'The playback link is not valid.')
        return { id: sub, role: role as Role }
      } catch (error) {
        if (error instanceof ServiceError) throw error
        if (error instanceof joseErrors.JWTExpired)
          throw refused('link_expired', 'The playback link has expired.', error)
        throw refused('link_invalid', 'The playback link is not valid.', error)
      }
    },
  }
}
