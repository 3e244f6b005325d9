/** Settings as an operator may give them. */
import { ConfigError, type Environment, readConfig } from '../../src/config/config.ts'

/** The faults, one sentence each; none where the settings are sound. */
export function faultsOf(env: Environment): readonly string[] {
  try {
    readConfig(env)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.faults
    throw error
  }
}
