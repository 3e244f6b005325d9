/**
 * `call-recordings token --sub NAME`: a token signed with the secret of the server, for whoever tries it out or has no login yet.
 *
 * Where public keys are configured, their holder alone mints.
 */
import { SignJWT } from 'jose'
import { type Clock, systemClock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { presentSecret } from '../config/kept-secret.ts'
import { timeIn } from '../config/values.ts'
import { isCallerId } from '../ids.ts'
import { ROLES, type Role } from '../leads/rights.ts'
import { confirm } from './confirm.ts'
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

async function secretOf({ key }: Config['auth']): Promise<Uint8Array> {
  switch (key.kind) {
    case 'secret':
      return key.secret
    case 'made': {
      const secret = await presentSecret(key.file)
      if (secret) return secret
      throw new Error(
        `there is no secret at ${key.file} yet: start the server once, which makes it, or give both of them the same ` +
          'RECORDINGS_DATA_DIR or RECORDINGS_JWT_SECRET',
      )
    }
    default: {
      const [setting, where] =
        key.kind === 'jwks-url' ? ['RECORDINGS_JWKS_URL', key.url.origin] : ['RECORDINGS_JWKS_FILE', key.file]
      throw new Error(
        `tokens are signed by the login whose public keys ${setting} names (${where}): ask it for one with sub, exp and role; ` +
          'this service has no key that signs',
      )
    }
  }
}

/** Writes the token alone to stdout. @returns the exit code */
export async function token(
  config: Config,
  options: TokenOptions,
  output: Output,
  clock: Clock = systemClock,
): Promise<number> {
  const { sub, role, forMs } = checked(options)
  const secret = await secretOf(config.auth)
  if (config.production) {
    await confirm(`makes a login for production, ${options.for} long: ${sub} as ${role}`, options.yes)
  }
  const { algorithms, issuer, audience } = config.auth
  const nowSeconds = Math.floor(clock.now() / 1000)
  const expiresAtSeconds = nowSeconds + Math.ceil(forMs / 1000)
  const jwt = new SignJWT({ sub, role }).setIssuedAt(nowSeconds).setExpirationTime(expiresAtSeconds)
  if (issuer !== undefined) jwt.setIssuer(issuer)
  if (audience !== undefined) jwt.setAudience(audience)
  const text = await jwt.setProtectedHeader({ alg: algorithms[0] ?? 'HS256' }).sign(secret)
  output.sum({ token: text, sub, role, expires_at: new Date(expiresAtSeconds * 1000).toISOString() }, text)
  return 0
}
