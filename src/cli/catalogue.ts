/** All commands, in the order of their help. */
import type { Declaration } from './declaration.ts'
import { backupCommand, checkStoreCommand, migrateCommand, sweepCommand, verifyCommand } from './home-commands.ts'
import { completeCommand, configCheckCommand, doctorCommand, startCommand, tokenCommand } from './server-commands.ts'

export const CATALOGUE: readonly (readonly [heading: string, commands: readonly Declaration[]])[] = [
  ['Server:', [startCommand, tokenCommand, configCheckCommand, doctorCommand]],
  ['Data:', [verifyCommand, backupCommand, sweepCommand, migrateCommand, checkStoreCommand]],
  ['Shell:', [completeCommand]],
]
