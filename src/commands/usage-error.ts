/** A command that could not be understood, or may not be carried out as it was given: exit code 2, and nothing was done. */
export class UsageError extends Error {
  override name = 'UsageError'
}
