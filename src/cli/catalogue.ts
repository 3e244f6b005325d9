/** All commands, in the order of their help. */
import type { Declaration } from './declaration.ts'
import {
  backupCommand,
  checkStoreCommand,
  migrateCommand,
  restoreCommand,
  sweepCommand,
  verifyCommand,
} from './home-commands.ts'
import { exportCommand, importCommand, listCommand } from './row-commands.ts'
import { completeCommand, configCheckCommand, doctorCommand, startCommand, tokenCommand } from './server-commands.ts'
import { uploadCommand } from './upload-command.ts'

export const CATALOGUE: readonly (readonly [heading: string, commands: readonly Declaration[]])[] = [
  ['Server:', [startCommand, tokenCommand, configCheckCommand, doctorCommand]],
  ['What comes in and is there:', [importCommand, exportCommand, listCommand, uploadCommand]],
  ['Data:', [verifyCommand, backupCommand, restoreCommand, sweepCommand, migrateCommand, checkStoreCommand]],
  ['Shell:', [completeCommand]],
]
