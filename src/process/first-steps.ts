/** What a developer reads in a terminal once the server listens: where it is told what there is, and how to be let in. */
import type { Config } from '../config/config.ts'

/** @param url of the server, without a slash at its end */
export function firstSteps(url: string, { auth: { key } }: Pick<Config, 'auth'>): string {
  const isSigned = key.kind === 'secret' || key.kind === 'made'
  const token = isSigned
    ? 'npx call-recordings token --sub asha    (--role telecaller, supervisor or service)'
    : 'from the login whose public keys are configured'
  return ['', `  ${url}/docs  what it answers, to be tried there`, `  a token: ${token}`, '', ''].join('\n')
}
