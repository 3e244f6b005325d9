/** What `doctor` finds of one thing: a line, and what to do where it is not as it should be. */
export interface Finding {
  /** What was looked at, in a word. */
  about: string
  /** `advice`: it works, and could be better; `bad`: the service does not work with it, or not as it should. */
  state: 'ok' | 'advice' | 'bad'
  says: string
  /** In the imperative; of what is not `ok`. */
  todo?: string
}

export const ok = (about: string, says: string): Finding => ({ about, state: 'ok', says })
export const advice = (about: string, says: string, todo: string): Finding => ({ about, state: 'advice', says, todo })
export const bad = (about: string, says: string, todo: string): Finding => ({ about, state: 'bad', says, todo })
