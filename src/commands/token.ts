/**
 * `call-recordings token --sub NAME`: a token signed with the secret of the server, for whoever tries it out or has no login yet.
 *
 * Where public keys are configured, their holder alone mints.
 */
import { type Clock, systemClock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { timeIn } from '../config/values.ts'
import { isCallerId } from '../ids.ts'
import { ROLES, type Role } from '../leads/rights.ts'
import { confirm } from './confirm.ts'
import { mintToken, signingSecret } from './mint.ts'
import type { Output } from './output.ts'
import { UsageError } from './usage-error.ts'

export interface TokenOptions {
  sub: string
  role: string
  /** Such as `1h`. */
  for: string
  yes: boolean
}

const MAX_MS = 365 * 86_400_000

function checked({ sub, role, for: time }: TokenOptions): { sub: string; role: Role; forMs: number } {
  if (!isCallerId(sub)) throw new UsageError('--sub is a name of 1 to 255 characters without control characters')
  if (!ROLES.includes(role as Role)) throw new UsageError(`--role is \`${role}\`: expected one of ${ROLES.join(', ')}`)
  const forMs = timeIn(time)
  if (forMs === undefined || forMs < 1_000 || forMs > MAX_MS) {
    throw new UsageError(`--for is \`${time}\`: expected a time such as 30s, 10m, 1h or 7d, at least 1s, at most 365d`)
  }
  return { sub, role: role as Role, forMs }
}

/** Writes the token alone to stdout. @returns the exit code */
export async function token(
  config: Config,
  options: TokenOptions,
  output: Output,
  clock: Clock = systemClock,
): Promise<number> {
  const { sub, role, forMs } = checked(options)
  const secret = await signingSecret(config.auth)
  if (config.production) {
    await confirm(`makes a login for production, ${options.for} long: ${sub} as ${role}`, options.yes)
  }
  const { token: text, expiresAtSeconds } = await mintToken(config.auth, secret, { sub, role, forMs }, clock)
  output.sum({ token: text, sub, role, expires_at: new Date(expiresAtSeconds * 1000).toISOString() }, text)
  return 0
}
