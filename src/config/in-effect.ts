/** The settings as they are in effect, for an operator to look at: given, by default, or following from others. */
import path from 'node:path'
import { type Config, givenSettings } from './config.ts'
import { shown } from './faults.ts'
import { type SettingName, settingDefaults } from './settings.ts'

export interface InEffect {
  name: SettingName
  /** Of a secret, that it is there; undefined: there is none. */
  value: string | undefined
  source: 'environment' | 'default' | 'follows' | 'none'
}

const kept = (file: string) => `made at the first start and kept in ${file}`

/** What settings that are not given are, by others or by the environment of the process. */
const followingFrom = ({
  auth,
  dataDir,
  recordingsDir,
  uploadsDir,
  cors,
  store,
  postgres,
}: Config): Partial<Record<SettingName, string>> => ({
  ...(!store && { RECORDINGS_DIR: recordingsDir }),
  RECORDINGS_UPLOADS_DIR: uploadsDir,
  RECORDINGS_DATA_DIR: dataDir,
  ...(auth.key.kind === 'made' && { RECORDINGS_JWT_SECRET: kept(auth.key.file) }),
  ...(!postgres && { RECORDINGS_PLAYBACK_LINK_SECRET: kept(path.join(dataDir, 'playback-links-secret')) }),
  RECORDINGS_JWT_ALGORITHMS: auth.algorithms.join(', '),
  RECORDINGS_CORS_ORIGINS: cors === '*' ? '*' : cors.join(', ') || 'none',
  ...(store && { RECORDINGS_S3_PATH_STYLE: String(store.pathStyle) }),
})

/** @param config undefined where the settings are at fault: what follows from them is not known then */
export function settingsInEffect(config: Config | undefined): InEffect[] {
  const given = new Map(givenSettings())
  const following = config ? followingFrom(config) : {}
  return Array.from(settingDefaults(), ([name, byDefault]): InEffect => {
    const text = given.get(name)
    if (given.has(name))
      return { name, value: text === undefined ? 'not shown' : bare(shown(name, text)), source: 'environment' }
    if (following[name] !== undefined) return { name, value: following[name], source: 'follows' }
    return { name, value: byDefault, source: byDefault === undefined ? 'none' : 'default' }
  })
}

/** As in a fault, but without the quotes of a sentence. */
const bare = (text: string) => text.replace(/^`(.*)`$/s, '$1')
