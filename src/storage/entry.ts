/** What lies in a store, as its sweep sees it. */
export interface Entry {
  /** What the store calls it. */
  name: string
  bytes: number
  /** When it was last changed, in milliseconds since the epoch. */
  changedAtMs: number
}
