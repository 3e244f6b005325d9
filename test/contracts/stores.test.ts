import { diskStores } from '../support/disk-stores.ts'
import { libraryContract } from './library.ts'
import { stagingContract } from './staging.ts'

stagingContract('a disk', diskStores)
libraryContract('a disk', diskStores)
