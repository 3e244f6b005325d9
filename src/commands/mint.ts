/** Tokens signed with the secret of the server. Where public keys are configured, their holder alone mints. */
import { SignJWT } from 'jose'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { presentSecret } from '../config/kept-secret.ts'
import type { Role } from '../leads/rights.ts'

export interface Minted {
  sub: string
  role: Role
  forMs: number
}

/** @throws a sentence for the operator where there is none to sign with */
export async function signingSecret({ key }: Config['auth']): Promise<Uint8Array> {
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

export async function mintToken(
  { algorithms, issuer, audience }: Config['auth'],
  secret: Uint8Array,
  { sub, role, forMs }: Minted,
  clock: Clock,
): Promise<{ token: string; expiresAtSeconds: number }> {
  const nowSeconds = Math.floor(clock.now() / 1000)
  const expiresAtSeconds = nowSeconds + Math.ceil(forMs / 1000)
  const jwt = new SignJWT({ sub, role }).setIssuedAt(nowSeconds).setExpirationTime(expiresAtSeconds)
  if (issuer !== undefined) jwt.setIssuer(issuer)
  if (audience !== undefined) jwt.setAudience(audience)
  return { token: await jwt.setProtectedHeader({ alg: algorithms[0] ?? 'HS256' }).sign(secret), expiresAtSeconds }
}
