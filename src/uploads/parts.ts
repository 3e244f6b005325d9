/**
 * Concatenation: one upload's bytes made of several partial ones' (tus 1.0 § Concatenation).
 *
 * The first part's file is renamed, the others are copied behind it. They have to be read once in any case, since the
 * SHA-256 of the whole does not follow from those of its parts; so a copy costs its write, and a reflink would spare no
 * more than that. Knows files by way of staging; knows nothing of the database or of HTTP.
 */
import type { UploadRow } from '../db/schema.ts'
import { ServiceError } from '../errors.ts'
import type { Staged } from '../storage/staging.ts'

const FINAL = 'final;'

export const isPartial = ({ concat }: Pick<UploadRow, 'concat'>): boolean => concat === 'partial'

export const isFinal = ({ concat }: Pick<UploadRow, 'concat'>): boolean => concat?.startsWith(FINAL) ?? false

/** The ids of a final upload's parts, in order; none of any other. */
export const partIdsOf = ({ partIds }: Pick<UploadRow, 'partIds'>): string[] => partIds?.split(',') ?? []

/**
 * A part of an upload must be a partial upload of the same caller and lead.
 *
 * @throws ServiceError `upload_not_found`, `not_your_upload` or `invalid_parameter`
 */
export function assertPart(part: Readonly<UploadRow>, whole: { leadId: string; caller: { id: string } }): void {
  if (part.leadId !== whole.leadId) throw new ServiceError('upload_not_found', 'There is no such upload.')
  if (part.callerId !== whole.caller.id) {
    throw new ServiceError('not_your_upload', 'A part of the upload was begun by another caller.')
  }
  if (!isPartial(part)) {
    throw new ServiceError('invalid_parameter', 'Upload-Concat names an upload that was not begun as a partial one.')
  }
}

export interface Part {
  staged: Staged
  /** Bytes. */
  size: number
}

/**
 * Makes the parts' bytes those of the whole, and removes their own; what an earlier run has done is not done again.
 *
 * A part's file goes only when its bytes are on disk in their new place: so a part without a file is in it already.
 *
 * @param step called after each step, by its name
 * @returns false when no file is left: the whole has moved on already, or its bytes are gone
 * @throws when bytes of a part are gone
 */
export async function assemble(
  whole: Staged,
  parts: readonly Part[],
  step: (name: string) => void = () => {},
): Promise<boolean> {
  // A part without bytes never had a file.
  const [first, ...others] = parts.filter((part) => part.size > 0)
  if (!first) return false
  let end = first.size
  let present = await whole.size()
  if (present === undefined) {
    if ((await first.staged.size()) === undefined) return false
    await whole.takeFrom(first.staged)
    step('part-renamed')
    present = end
  }
  if (present < end) throw gone()
  for (const part of others) {
    if ((await part.staged.size()) !== undefined) {
      await whole.copyFrom(part.staged, part.size, end)
      step('part-copied')
      await part.staged.discard()
      step('part-removed')
      present = end + part.size
    }
    end += part.size
    if (present < end) throw gone()
  }
  return true
}

const gone = () => new ServiceError('upload_expired', 'Bytes of a part are gone; start a new upload.')
