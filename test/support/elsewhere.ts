/** Before the tests that run over PostgreSQL and a bucket: without either, none of them is what it says. */
import { hasPostgres } from './postgres.ts'
import { hasSwift } from './swift.ts'

export default function setup(): void {
  if (!hasPostgres || !hasSwift) throw new Error('PostgreSQL or Swift is missing: see .ci/run for the packages')
}
