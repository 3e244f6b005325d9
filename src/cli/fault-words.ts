/** What a fault that a command did not foresee is to an operator: what the system says of a place, with what to do. */

/** @returns its message, or, of a place that can't be used, a sentence */
export function wordsOf(error: Error): string {
  const { code, path, syscall } = error as NodeJS.ErrnoException
  if (path === undefined) return error.message
  switch (code) {
    case 'EACCES':
    case 'EPERM': {
      const way = "run the command as the service's user, or make the place and give it to that user"
      return `${path}: this user may not ${syscall} there (${code}, uid ${process.geteuid?.()}): ${way}`
    }
    case 'ENOSPC':
    case 'EDQUOT':
      return `${path}: there is no room for it (${code}): make room, and run the same again`
    case 'EROFS':
      return `${path} is on a file system that takes no write (${code}): name another place`
    default:
      return error.message
  }
}
