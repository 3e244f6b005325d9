/** The settings and what they name (directories, the file of keys), judged together: at a start, and by `config check`. */
import { faultsOfKeyFile } from './auth/keys.ts'
import { type Config, ConfigError, namedIn, readConfig } from './config/config.ts'
import { faultsOfPlaces, makePlaces } from './storage/disk/places.ts'

export interface Judged {
  /** Undefined where the settings by themselves are at fault. */
  config: Config | undefined
  /** All that is wrong, a sentence each. */
  faults: readonly string[]
}

/** @param make directories that are missing, where the settings by themselves are sound */
export async function judgeSettings({ make }: { make: boolean }): Promise<Judged> {
  const named = namedIn()
  const faults: string[] = []
  let config: Config | undefined
  try {
    config = readConfig()
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    faults.push(...error.faults)
  }
  faults.push(
    ...(await (config && make ? makePlaces(named) : faultsOfPlaces(named))),
    ...(await faultsOfKeyFile(named.keyFile)),
  )
  return { config, faults }
}
