/** The file of public keys that `RECORDINGS_JWKS_FILE` names. */
import { readFile } from 'node:fs/promises'
import { ConfigError } from './config.ts'

const faultOf = (file: string, sentence: string) =>
  new ConfigError([`RECORDINGS_JWKS_FILE is \`${file}\`: ${sentence}`])

/**
 * What is made of the file's text.
 *
 * @param judge throws an error with a sentence that goes on from the name of the file
 * @throws ConfigError when the file can't be read, or what is in it is refused
 */
export async function inKeyFile<T>(file: string, judge: (text: string) => Promise<T>): Promise<T> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw faultOf(file, `it can't be read (${code ?? message}): expected a JSON Web Key Set, {"keys":[…]}`)
  }
  return judge(text).catch((error) => {
    throw faultOf(file, (error as Error).message)
  })
}
